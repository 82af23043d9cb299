"""A platform of processes that may be killed at any moment, and come back as under a supervisor."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from services.common.errors import DomainError, Reason
from services.common.rpc.channel import open_channel
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2_grpc
from tenon.trainer.v1 import adapter_transfer_pb2_grpc, dataset_pb2_grpc, training_job_pb2_grpc
from tests.e2e.trainer.platform import Event, Platform, State
from tests.support.keys import secret_key_file, trusted_key_file
from tests.support.postgres import PostgresServer
from tests.support.registry import registry_settings, running_registry
from tests.support.s3.configuration import ACCESS_KEY, SECRET_KEY
from tests.support.s3.process import S3Process

BUCKET = "tenon"
AWAY = frozenset({Reason.SERVICE_UNAVAILABLE, Reason.DATABASE_UNAVAILABLE, Reason.DATABASE_CONFLICT})

Kill = Callable[[], Awaitable[bool]]
"""Kills something and brings it back; false where there was nothing to kill."""


@dataclass
class Process:
    """A Python module as a process."""

    module: str
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it works."""
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, env=self.environment, stdout=output, stderr=output
            )
        deadline = time.monotonic() + 60
        while not self.ready():
            if self.process.returncode is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text()[-3000:])
            await asyncio.sleep(0.05)

    async def kill(self) -> bool:
        """Kill it with SIGKILL."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        return True

    async def restart(self) -> bool:
        """Kill it and start it again."""
        await self.kill()
        await self.start()
        return True


@dataclass
class World:
    """The platform and what can be killed of it."""

    platform: Platform
    worker: Process
    kills: dict[str, Kill] = field(default_factory=dict)

    def recipe(self) -> int | None:
        """The process id of the recipe that the worker runs, if it runs one."""
        pid = self.worker.process.pid if self.worker.process else 0
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    async def follow(self, name: str, told: list[Event]) -> None:
        """Gather a job's events as a client does that goes on after the last one it saw, whatever goes away meanwhile."""
        async with asyncio.timeout(150):
            while not told or not _is_last(told[-1]):
                try:
                    async for response in self.platform.watch(name, told[-1].sequence if told else 0):
                        told += [response.event] if response.HasField("event") else []
                except DomainError as error:
                    if error.reason not in AWAY:
                        raise
                    await asyncio.sleep(0.1)


def _is_last(event: Event) -> bool:
    return event.state_change.state in {State.STATE_SUCCEEDED, State.STATE_FAILED, State.STATE_CANCELLED}


@asynccontextmanager
async def running_world(root: Path) -> AsyncIterator[World]:
    """Start everything; the trainer's server and worker, Postgres and the store are processes of their own."""
    async with AsyncExitStack() as stack:
        postgres, url = _start_postgres(stack)
        store, artifacts = _start_store(stack, root)
        settings = registry_settings(url, root / "unused")
        changed = type(settings)(**(settings.model_dump() | artifacts))
        registry = await stack.enter_async_context(running_registry(changed))
        environment = _environment(root, url, registry.address, artifacts)
        address, ready = f"127.0.0.1:{_free_port()}", root / "ready"
        trainer = Process(
            "services.trainer",
            {**environment, "TENON_LISTEN": address, "TENON_TRUSTED_KEYS": json.dumps([str(trusted_key_file(root))])},
            root / "trainer.log",
            lambda: _listens(address),
        )
        worker = Process(
            "services.trainer.worker",
            {**environment, "TENON_READY_FILE": str(ready)},
            root / "worker.log",
            ready.exists,
        )
        for process in (trainer, worker):
            stack.push_async_callback(process.kill)
            await process.start()
        world = World(await _connect(stack, root, postgres, registry.address, address), worker)
        world.kills.update(_kills(world, trainer, ready, store))
        yield world


def _start_postgres(stack: AsyncExitStack) -> tuple[PostgresServer, str]:
    postgres = PostgresServer.create()
    stack.callback(postgres.remove)
    postgres.start()
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        # What was committed must survive the kill of the process, as in production.
        database = sql.Identifier(url.rpartition("/")[2])
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = on").format(database))
    return postgres, url


def _start_store(stack: AsyncExitStack, root: Path) -> tuple[S3Process, dict[str, Any]]:
    store = S3Process(root / "s3")
    store.start()
    stack.callback(store.stop)
    store.client().make_bucket(BUCKET)
    return store, {
        "artifacts_url": f"s3://{BUCKET}",
        "s3_endpoint": store.endpoint,
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": SECRET_KEY,
        "s3_secure": False,
    }


async def _connect(
    stack: AsyncExitStack, root: Path, postgres: PostgresServer, registry: str, trainer: str
) -> Platform:
    to_registry = await stack.enter_async_context(open_channel(registry))
    to_trainer = await stack.enter_async_context(open_channel(trainer))
    jobs = training_job_pb2_grpc.TrainingJobServiceStub(to_trainer)
    datasets = dataset_pb2_grpc.DatasetServiceStub(to_trainer)
    return Platform(
        root=root,
        postgres=postgres,
        registry_address=registry,
        signing_key_file=secret_key_file(root),
        base_models=base_model_pb2_grpc.BaseModelServiceStub(to_registry),
        adapters=adapter_pb2_grpc.AdapterServiceStub(to_registry),
        datasets=datasets,
        jobs=jobs,
        transfers=adapter_transfer_pb2_grpc.AdapterTransferServiceStub(to_trainer),
        streams=datasets,
        watches=jobs,
    )


def _kills(world: World, trainer: Process, ready: Path, store: S3Process) -> dict[str, Kill]:
    async def kill_recipe() -> bool:
        pid = world.recipe()
        if pid is None:
            return False
        os.kill(pid, 9)
        return True

    async def kill_postgres() -> bool:
        await asyncio.to_thread(world.platform.postgres.kill)
        await asyncio.to_thread(world.platform.postgres.start)
        return True

    async def kill_store() -> bool:
        await asyncio.to_thread(store.stop)
        await asyncio.to_thread(store.start)
        return True

    async def kill_worker() -> bool:
        ready.unlink(missing_ok=True)
        return await world.worker.restart()

    return {
        "recipe": kill_recipe,
        "worker": kill_worker,
        "service": trainer.restart,
        "postgres": kill_postgres,
        "store": kill_store,
    }


def _environment(root: Path, url: str, registry: str, artifacts: Mapping[str, object]) -> dict[str, str]:
    places = {f"TENON_{name.upper()}": str(value) for name, value in artifacts.items()}
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "TENON_DATABASE_URL": url,
        **places,
        "TENON_REGISTRY_TARGET": registry,
        "TENON_SIGNING_KEY_FILE": str(secret_key_file(root)),
        "TENON_CACHE_DIR": str(root / "cache"),
        "TENON_BASE_ROOTS": json.dumps([str(root)]),
        "TENON_JOB_LEASE_SECONDS": "1.5",
        "TENON_WATCH_REREAD_SECONDS": "1",
        "TENON_WORKER_POLL_SECONDS": "0.5",
        "TENON_WORKER_FLUSH_SECONDS": "0.2",
        "TENON_WORKER_THREADS": "1",
        "TENON_CHECKPOINT_STEPS": "30",
    }


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
