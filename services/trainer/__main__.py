"""The trainer's server: ``python -m services.trainer``. Workers are processes of their own (``worker``)."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from services.common.artifacts.connect import connect_store
from services.common.artifacts.store import ArtifactStore
from services.common.auth.connect import own_credentials, remote_guard
from services.common.auth.guard import Guard
from services.common.db import migrate_when_reachable, open_database
from services.common.errors import DomainError
from services.common.rpc.channel import open_channel
from services.common.rpc.server import Check, Service, serve
from services.common.rpc.tls import client_tls
from services.common.signing import SigningKey, TrustStore
from services.common.telemetry import telemetry
from services.trainer.catalog.dataset_catalog import DatasetCatalog
from services.trainer.catalog.dataset_examination import DatasetExaminations
from services.trainer.catalog.examiner import Examiner
from services.trainer.datasets import Limits
from services.trainer.jobs.checkpoint_sweep import keep_discarding
from services.trainer.jobs.jobs import Jobs
from services.trainer.jobs.planner import Planner
from services.trainer.jobs.queue import JobQueue, keep_recovering
from services.trainer.jobs.wakeups import Wakeups, forward_notifications
from services.trainer.jobs.watch import Watcher
from services.trainer.servicers.dataset_servicer import DatasetServicer
from services.trainer.servicers.job_servicer import TrainingJobServicer
from services.trainer.servicers.transfer_servicer import AdapterTransferServicer
from services.trainer.settings import TrainerSettings
from services.trainer.storage.postgres import MIGRATIONS, SCHEMA, PostgresStore
from services.trainer.storage.store import EVENTS_CHANNEL
from services.trainer.support.background import beside
from services.trainer.support.executor import LocalExecutor
from services.trainer.support.retry import at_once
from services.trainer.transfer.adapter_export import AdapterExports
from services.trainer.transfer.adapter_import import AdapterImports
from services.trainer.transfer.publish import Publisher
from tenon.registry.v1 import base_model_pb2_grpc
from tenon.registry.v1.adapter_pb2_grpc import AdapterServiceStub
from tenon.trainer.v1 import adapter_transfer_pb2_grpc, dataset_pb2_grpc, training_job_pb2_grpc

UNPACKED_BY_PACKED: Final = 4
"""How many times as large as the largest data set the rows of a Parquet file may be."""
STOP_SECONDS: Final = 2.0
"""How long a process that reckons a plan may take to end; it has nothing to put away."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a server needs.

    Attributes:
        services: what it serves.
        checks: what it depends on, by name.
        guard: admits its calls; None in a suite without keys.
    """

    services: Sequence[Service]
    checks: Mapping[str, Check]
    guard: Guard | None


@asynccontextmanager
async def trainer(settings: TrainerSettings) -> AsyncIterator[Trainer]:
    """Put the trainer together and look after its leases."""
    signing_key, trust = SigningKey.load(settings.signing_key_file), TrustStore.open(settings.trusted_keys)
    artifacts, wakeups = connect_store(settings), Wakeups()

    async def check_artifacts() -> None:
        await asyncio.to_thread(artifacts.check)

    async with (
        open_database(settings, application_name="tenon-trainer") as database,
        open_channel(
            settings.registry_target,
            max_message_bytes=settings.grpc_max_message_bytes,
            credentials=own_credentials(settings, "trainer"),
            tls=client_tls(settings),
        ) as registry,
        remote_guard(settings, registry) as guard,
    ):
        await migrate_when_reachable(database, SCHEMA, MIGRATIONS)
        store = PostgresStore(database)
        queue = JobQueue(store.jobs, store.datasets, settings.job_lease_seconds, settings.job_max_attempts)
        base_models, adapters = base_model_pb2_grpc.BaseModelServiceStub(registry), AdapterServiceStub(registry)
        jobs = Jobs(store, artifacts, base_models)
        imports = AdapterImports(
            base_models=base_models,
            publisher=Publisher(artifacts, adapters, persist=at_once),
            signing_key=signing_key,
            trust=trust,
            max_bytes=settings.adapter_max_bytes,
            upload_dir=settings.upload_dir,
        )
        exports = AdapterExports(adapters, artifacts)
        planner = Planner(
            datasets=store.datasets,
            artifacts=artifacts,
            base_models=base_models,
            executor=LocalExecutor(STOP_SECONDS),
            cache_dir=settings.cache_dir,
            base_roots=settings.base_roots,
            scratch=settings.upload_dir,
        )
        watcher = Watcher(store.jobs, wakeups, settings.watch_reread_seconds)
        async with (
            beside(forward_notifications(database, EVENTS_CHANNEL, wakeups)),
            beside(keep_recovering(queue, settings.job_lease_seconds / 3)),
            beside(keep_discarding(store.jobs, artifacts, settings.job_lease_seconds)),
        ):
            services = [
                _dataset_service(_datasets(settings, store, artifacts, base_models)),
                _job_service(TrainingJobServicer(jobs, watcher, planner)),
                _transfer_service(AdapterTransferServicer(imports, exports)),
            ]
            yield Trainer(services, {"database": database.check, "artifacts": check_artifacts}, guard)


def _datasets(
    settings: TrainerSettings,
    store: PostgresStore,
    artifacts: ArtifactStore,
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub",
) -> DatasetServicer:
    examiner = Examiner(
        base_models, cache_dir=settings.cache_dir, base_roots=settings.base_roots, directory=settings.upload_dir
    )
    limits = Limits(
        max_row_bytes=settings.dataset_max_row_bytes,
        max_unpacked_bytes=UNPACKED_BY_PACKED * settings.dataset_max_bytes,
    )
    catalog = DatasetCatalog(
        store=store,
        artifacts=artifacts,
        limits=limits,
        max_bytes=settings.dataset_max_bytes,
        examiner=examiner,
        upload_dir=settings.upload_dir,
    )
    examinations = DatasetExaminations(
        store=store, artifacts=artifacts, examiner=examiner, directory=settings.upload_dir
    )
    return DatasetServicer(catalog, examinations)


async def run(settings: TrainerSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    async with trainer(settings) as parts:
        await serve(settings, parts.services, parts.checks, parts.guard)


def _dataset_service(servicer: DatasetServicer) -> Service:
    return Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, servicer, "tenon.trainer.v1.DatasetService")


def _job_service(servicer: TrainingJobServicer) -> Service:
    return Service(
        training_job_pb2_grpc.add_TrainingJobServiceServicer_to_server,
        servicer,
        "tenon.trainer.v1.TrainingJobService",
    )


def _transfer_service(servicer: AdapterTransferServicer) -> Service:
    return Service(
        adapter_transfer_pb2_grpc.add_AdapterTransferServiceServicer_to_server,
        servicer,
        "tenon.trainer.v1.AdapterTransferService",
    )


def main() -> int:
    """Run the process; a fault of its settings or its surroundings is told in a line."""
    try:
        settings = TrainerSettings.load()
        with telemetry("tenon-trainer", settings):
            asyncio.run(run(settings))
    except DomainError as error:
        print(f"tenon-trainer: {error.message}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
