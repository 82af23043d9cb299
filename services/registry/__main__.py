"""``python -m services.registry``: settings, telemetry, stores, servers."""

import asyncio
import sys

from services.common.artifacts.connect import connect_store
from services.common.artifacts.store import ArtifactStore
from services.common.db import migrate_when_reachable, open_database
from services.common.errors import DomainError
from services.common.rpc.server import Service, serve
from services.common.signing import Trust, TrustStore
from services.common.telemetry import telemetry
from services.registry.adapter_servicer import AdapterServicer
from services.registry.base_model_servicer import BaseModelServicer
from services.registry.postgres import MIGRATIONS, SCHEMA, PostgresRegistryStore
from services.registry.settings import RegistrySettings
from services.registry.store import RegistryStore
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2_grpc


def services(store: RegistryStore, artifacts: ArtifactStore, trust: Trust) -> list[Service]:
    """Return what the registry serves."""
    return [
        Service(
            base_model_pb2_grpc.add_BaseModelServiceServicer_to_server,
            BaseModelServicer(store),
            "tenon.registry.v1.BaseModelService",
        ),
        Service(
            adapter_pb2_grpc.add_AdapterServiceServicer_to_server,
            AdapterServicer(store, artifacts, trust),
            "tenon.registry.v1.AdapterService",
        ),
    ]


async def run(settings: RegistrySettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    artifacts = connect_store(settings)
    trust = TrustStore.open(settings.trusted_keys)

    async def check_artifacts() -> None:
        await asyncio.to_thread(artifacts.check)

    async with open_database(settings, application_name="tenon-registry") as database:
        await migrate_when_reachable(database, SCHEMA, MIGRATIONS)
        store = PostgresRegistryStore(database)
        checks = {"database": database.check, "artifacts": check_artifacts}
        await serve(settings, services(store, artifacts, trust), checks)


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
