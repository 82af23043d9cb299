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
from services.common.background import again_and_again, beside
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
from services.trainer.jobs.jobs import Jobs
from services.trainer.jobs.planner import Planner
from services.trainer.jobs.queue import JobQueue, keep_recovering
from services.trainer.jobs.wakeups import Wakeups, forward_notifications
from services.trainer.jobs.watch import Watcher
from services.trainer.retention.checkpoints import discard_checkpoints
from services.trainer.retention.collection import Collector
from services.trainer.retention.expiry import Expiry
from services.trainer.servicers.dataset_servicer import DatasetServicer
from services.trainer.servicers.job_servicer import TrainingJobServicer
from services.trainer.servicers.storage_servicer import StorageServicer
from services.trainer.servicers.transfer_servicer import AdapterTransferServicer
from services.trainer.settings import TrainerSettings
from services.trainer.storage.postgres import MIGRATIONS, SCHEMA, PostgresStore
from services.trainer.storage.store import EVENTS_CHANNEL
from services.trainer.support.allocator import give_large_blocks_back
from services.trainer.support.executor import LocalExecutor
from services.trainer.support.retry import at_once
from services.trainer.transfer.adapter_export import AdapterExports
from services.trainer.transfer.adapter_import import AdapterImports
from services.trainer.transfer.publish import Publisher
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2_grpc
from tenon.trainer.v1 import adapter_transfer_pb2_grpc, dataset_pb2_grpc, storage_pb2_grpc, training_job_pb2_grpc

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


@dataclass(frozen=True, slots=True)
class Means:
    """What the trainer's parts are made of."""

    settings: TrainerSettings
    store: PostgresStore
    artifacts: ArtifactStore
    # These classes exist in the stubs alone.
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"


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
        means = Means(
            settings=settings,
            store=PostgresStore(database),
            artifacts=artifacts,
            base_models=base_model_pb2_grpc.BaseModelServiceStub(registry),
            adapters=adapter_pb2_grpc.AdapterServiceStub(registry),
        )
        catalog, collector = _catalog(means), _collector(means)
        async with (
            beside(forward_notifications(database, EVENTS_CHANNEL, wakeups)),
            _caring(means),
            _tidying(means, catalog, collector),
        ):
            services = [
                _dataset_service(means, catalog),
                _job_service(means, wakeups),
                _transfer_service(means, signing_key, trust),
                _storage_service(collector),
            ]
            yield Trainer(services, {"database": database.check, "artifacts": check_artifacts}, guard)


def _examiner(means: Means) -> Examiner:
    settings = means.settings
    return Examiner(
        means.base_models, cache_dir=settings.cache_dir, base_roots=settings.base_roots, directory=settings.upload_dir
    )


def _catalog(means: Means) -> DatasetCatalog:
    settings = means.settings
    limits = Limits(
        max_row_bytes=settings.dataset_max_row_bytes,
        max_unpacked_bytes=UNPACKED_BY_PACKED * settings.dataset_max_bytes,
    )
    return DatasetCatalog(
        store=means.store,
        artifacts=means.artifacts,
        limits=limits,
        max_bytes=settings.dataset_max_bytes,
        examiner=_examiner(means),
        upload_dir=settings.upload_dir,
    )


def _collector(means: Means) -> Collector:
    return Collector(
        artifacts=means.artifacts,
        blobs=means.store.blobs,
        adapters=means.adapters,
        grace_seconds=means.settings.collect_grace_seconds,
    )


@asynccontextmanager
async def _caring(means: Means) -> AsyncIterator[None]:
    """Look after leases and checkpoints, until the block ends."""
    settings, jobs = means.settings, means.store.jobs
    queue = JobQueue(jobs, means.store.datasets, settings.job_lease_seconds, settings.job_max_attempts)

    async def discard() -> dict[str, int]:
        return {"count": await discard_checkpoints(jobs, means.artifacts)}

    async with (
        beside(keep_recovering(queue, settings.job_lease_seconds / 3)),
        beside(again_and_again("checkpoints discarded", discard, settings.job_lease_seconds)),
    ):
        yield


@asynccontextmanager
async def _tidying(means: Means, catalog: DatasetCatalog, collector: Collector) -> AsyncIterator[None]:
    """Collect and expire now and then, until the block ends."""
    settings = means.settings
    if not settings.tidy_seconds:
        yield
        return
    expiry = Expiry(
        store=means.store,
        catalog=catalog,
        event_days=settings.job_event_retention_days,
        dataset_days=settings.dataset_retention_days,
    )

    async def collect() -> dict[str, int]:
        done = await collector.collect()
        return {"count": done.collected_count, "size_bytes": done.collected_bytes}

    async with (
        beside(again_and_again("garbage collected", collect, settings.tidy_seconds)),
        beside(again_and_again("expired", expiry.expire, settings.tidy_seconds)),
    ):
        yield


async def run(settings: TrainerSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    async with trainer(settings) as parts:
        await serve(settings, parts.services, parts.checks, parts.guard)


def _dataset_service(means: Means, catalog: DatasetCatalog) -> Service:
    examinations = DatasetExaminations(
        store=means.store,
        artifacts=means.artifacts,
        examiner=_examiner(means),
        directory=means.settings.upload_dir,
    )
    servicer = DatasetServicer(catalog, examinations)
    return Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, servicer, "tenon.trainer.v1.DatasetService")


def _job_service(means: Means, wakeups: Wakeups) -> Service:
    settings, store = means.settings, means.store
    planner = Planner(
        datasets=store.datasets,
        artifacts=means.artifacts,
        base_models=means.base_models,
        executor=LocalExecutor(STOP_SECONDS),
        cache_dir=settings.cache_dir,
        base_roots=settings.base_roots,
        scratch=settings.upload_dir,
    )
    jobs = Jobs(store, means.artifacts, means.base_models)
    watcher = Watcher(store.jobs, wakeups, settings.watch_reread_seconds)
    return Service(
        training_job_pb2_grpc.add_TrainingJobServiceServicer_to_server,
        TrainingJobServicer(jobs, watcher, planner),
        "tenon.trainer.v1.TrainingJobService",
    )


def _transfer_service(means: Means, signing_key: SigningKey, trust: TrustStore) -> Service:
    imports = AdapterImports(
        base_models=means.base_models,
        publisher=Publisher(means.artifacts, means.adapters, means.store.blobs, persist=at_once),
        signing_key=signing_key,
        trust=trust,
        max_bytes=means.settings.adapter_max_bytes,
        upload_dir=means.settings.upload_dir,
    )
    return Service(
        adapter_transfer_pb2_grpc.add_AdapterTransferServiceServicer_to_server,
        AdapterTransferServicer(imports, AdapterExports(means.adapters, means.artifacts)),
        "tenon.trainer.v1.AdapterTransferService",
    )


def _storage_service(collector: Collector) -> Service:
    return Service(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(collector),
        "tenon.trainer.v1.StorageService",
    )


def main() -> int:
    """Run the process; a fault of its settings or its surroundings is told in a line."""
    give_large_blocks_back()
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
