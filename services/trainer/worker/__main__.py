"""The trainer's worker: ``python -m services.trainer.worker``. Takes jobs, one at a time, and carries them through.

Run as many as the machine can train at once. A worker may die at any time: its lease runs out and another takes over.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from services.common.artifacts.connect import connect_store
from services.common.auth.connect import own_credentials
from services.common.background import beside
from services.common.db import migrate_when_reachable, open_database
from services.common.errors import DomainError
from services.common.rpc.channel import open_channel
from services.common.rpc.tls import client_tls
from services.common.signing import SigningKey
from services.common.telemetry import telemetry
from services.trainer.jobs.queue import JobQueue
from services.trainer.jobs.wakeups import Wakeups, forward_notifications
from services.trainer.settings import WorkerSettings
from services.trainer.storage.postgres import MIGRATIONS, SCHEMA, PostgresStore
from services.trainer.storage.store import WORK_CHANNEL
from services.trainer.support.executor import LocalExecutor
from services.trainer.support.retry import through_outages
from services.trainer.transfer.publish import Publisher
from services.trainer.worker.attempt import Attempts, CheckpointPolicy
from services.trainer.worker.job_directory import sweep
from services.trainer.worker.job_worker import Worker
from tenon.registry.v1.adapter_pb2_grpc import AdapterServiceStub
from tenon.registry.v1.base_model_pb2_grpc import BaseModelServiceStub

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run(settings: WorkerSettings) -> None:
    """Work until SIGINT or SIGTERM.

    Raises:
        DomainError: KEY_INVALID, SETTINGS_INVALID and the like: this process cannot work at all.
    """
    # First of all: hours of training are for nothing where the result cannot be signed.
    signing_key = SigningKey.load(settings.signing_key_file)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    artifacts, wakeups = connect_store(settings), Wakeups()
    async with (
        open_database(settings, application_name="tenon-trainer-worker") as database,
        open_channel(
            settings.registry_target, credentials=own_credentials(settings, "worker"), tls=client_tls(settings)
        ) as registry,
    ):
        await migrate_when_reachable(database, SCHEMA, MIGRATIONS)
        store = PostgresStore(database)
        queue = JobQueue(
            store.jobs,
            store.datasets,
            settings.job_lease_seconds,
            settings.job_max_attempts,
            settings.job_project_limit,
        )
        worker = Worker(
            name=f"{socket.gethostname()}-{os.getpid()}",
            queue=queue,
            wakeups=wakeups,
            attempts=Attempts(
                queue=queue,
                artifacts=artifacts,
                base_models=BaseModelServiceStub(registry),
                publisher=Publisher(artifacts, AdapterServiceStub(registry), store.blobs),
                signing_key=signing_key,
                executor=LocalExecutor(settings.worker_stop_seconds),
                cache_dir=settings.cache_dir,
                base_roots=settings.base_roots,
                flush_seconds=settings.worker_flush_seconds,
                threads=settings.worker_threads,
                checkpoints=CheckpointPolicy(seconds=settings.checkpoint_seconds, steps=settings.checkpoint_steps),
                pause_seconds=settings.worker_pause_seconds,
            ),
            poll_seconds=settings.worker_poll_seconds,
            farewell_seconds=settings.worker_stop_seconds / 3,
        )
        await asyncio.to_thread(sweep, settings.cache_dir / "jobs")
        async with (
            beside(forward_notifications(database, WORK_CHANNEL, wakeups)),
            beside(_announce(database.check, settings.ready_file)),
        ):
            await worker.run(stop)


async def _announce(check: Callable[[], Awaitable[None]], ready_file: Path | None) -> None:
    """Say that the worker works, once it does."""
    await through_outages(check)
    log.info("ready")
    if ready_file is not None:
        await asyncio.to_thread(ready_file.write_text, f"{os.getpid()}\n")


def main() -> int:
    """Run the process; a fault of its settings or its surroundings is told in a line."""
    try:
        settings = WorkerSettings.load()
        with telemetry("tenon-trainer-worker", settings):
            asyncio.run(run(settings))
    except DomainError as error:
        print(f"tenon-trainer-worker: {error.message}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
