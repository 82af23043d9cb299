from collections.abc import AsyncIterator

import pytest

from services.common.db import Database, migrate, open_database
from services.common.settings import DatabaseSettings
from services.registry.memory import MemoryRegistryStore
from services.registry.postgres import MIGRATIONS, SCHEMA, PostgresRegistryStore
from services.registry.store import RegistryStore
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

EMPTY = """
    TRUNCATE registry.base_models, registry.adapters, registry.adapter_versions, registry.version_signatures,
             registry.revocations, registry.aliases, registry.requests
"""


@pytest.fixture(scope="module")
async def migrated(postgres_url: str) -> AsyncIterator[Database]:
    async with open_database(DatabaseSettings(database_url=postgres_url), application_name="test") as database:
        await migrate(database, SCHEMA, MIGRATIONS)
        yield database


@pytest.fixture
async def database(migrated: Database) -> Database:
    """Return a migrated database without rows."""
    async with migrated.transaction() as connection:
        await connection.execute(EMPTY)
    return migrated


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> RegistryStore:
    """Return an empty store of each kind."""
    if request.param == "memory":
        return MemoryRegistryStore()
    return PostgresRegistryStore(request.getfixturevalue("database"))
