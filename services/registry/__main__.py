"""``python -m services.registry``: settings, telemetry, stores, servers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.common.artifacts.connect import connect_store
from services.common.artifacts.store import ArtifactStore
from services.common.auth.connect import own_credentials
from services.common.auth.guard import Guard
from services.common.auth.introspection import RememberedIntrospection
from services.common.db import migrate_when_reachable, open_database
from services.common.errors import DomainError
from services.common.rpc.channel import open_channel
from services.common.rpc.server import Service, serve
from services.common.rpc.tls import client_tls
from services.common.signing import Trust, TrustStore
from services.common.telemetry import telemetry
from services.registry.adapter_servicer import AdapterServicer
from services.registry.base_model_servicer import BaseModelServicer
from services.registry.dependants import NoTrainer, ProjectContents, RemoteTrainer, TrainerDependants
from services.registry.iam import postgres as iam_postgres
from services.registry.iam.iam import Iam
from services.registry.iam.model import IamStore
from services.registry.iam.own import AdminKey, OwnAuditLog
from services.registry.iam.servicers import IamServicer, IntrospectionServicer
from services.registry.postgres import MIGRATIONS, SCHEMA, PostgresRegistryStore
from services.registry.settings import RegistrySettings
from services.registry.store import RegistryStore
from tenon.iam.v1 import iam_pb2_grpc
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2_grpc
from tenon.trainer.v1.dataset_pb2_grpc import DatasetServiceStub
from tenon.trainer.v1.training_job_pb2_grpc import TrainingJobServiceStub

_NO_TRAINER: Final = NoTrainer()


def services(
    store: RegistryStore, artifacts: ArtifactStore, trust: Trust, trainer: TrainerDependants = _NO_TRAINER
) -> list[Service]:
    """Return what the registry serves."""
    return [
        Service(
            base_model_pb2_grpc.add_BaseModelServiceServicer_to_server,
            BaseModelServicer(store, trainer),
            "tenon.registry.v1.BaseModelService",
        ),
        Service(
            adapter_pb2_grpc.add_AdapterServiceServicer_to_server,
            AdapterServicer(store, artifacts, trust),
            "tenon.registry.v1.AdapterService",
        ),
    ]


def iam_services(iam: Iam, store: IamStore) -> list[Service]:
    """Return what the registry's process serves of who may do what."""
    return [
        Service(iam_pb2_grpc.add_IamServiceServicer_to_server, IamServicer(iam), "tenon.iam.v1.IamService"),
        Service(
            iam_pb2_grpc.add_IntrospectionServiceServicer_to_server,
            IntrospectionServicer(iam, store),
            "tenon.iam.v1.IntrospectionService",
        ),
    ]


def own_guard(settings: RegistrySettings, store: IamStore) -> Guard | None:
    """The registry's guard, which need not ask another process."""
    if settings.service_token is None:
        return None
    return Guard(RememberedIntrospection(Iam(store).caller), settings.service_token, OwnAuditLog(store))


@asynccontextmanager
async def known_trainer(settings: RegistrySettings) -> AsyncIterator[TrainerDependants]:
    """The trainer, which need not be up."""
    if settings.trainer_target is None:
        yield NoTrainer()
        return
    async with open_channel(
        settings.trainer_target, credentials=own_credentials(settings, "registry"), tls=client_tls(settings)
    ) as channel:
        yield RemoteTrainer(TrainingJobServiceStub(channel), DatasetServiceStub(channel))


async def run(settings: RegistrySettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    artifacts = connect_store(settings)
    trust = TrustStore.open(settings.trusted_keys)

    async def check_artifacts() -> None:
        await asyncio.to_thread(artifacts.check)

    async with (
        open_database(settings, application_name="tenon-registry") as database,
        known_trainer(settings) as trainer,
    ):
        await migrate_when_reachable(database, SCHEMA, MIGRATIONS)
        await migrate_when_reachable(database, iam_postgres.SCHEMA, iam_postgres.MIGRATIONS)
        store, keys = PostgresRegistryStore(database), iam_postgres.PostgresIamStore(database)
        iam = Iam(keys, ProjectContents(store, trainer))
        parts = [*services(store, artifacts, trust, trainer), *iam_services(iam, keys)]
        checks = {"database": database.check, "artifacts": check_artifacts}
        if settings.admin_key_file is not None:
            checks["admin key"] = AdminKey.of_file(keys, settings.admin_key_file).check
        await serve(settings, parts, checks, own_guard(settings, keys))


def main() -> int:
    """Run the process; a fault of its settings or its surroundings is told in a line."""
    try:
        settings = RegistrySettings.load()
        with telemetry("tenon-registry", settings):
            asyncio.run(run(settings))
    except DomainError as error:
        print(f"tenon-registry: {error.message}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
