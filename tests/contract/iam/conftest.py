from collections.abc import AsyncIterator

import pytest

from services.common.db import Database, migrate, open_database
from services.common.settings import DatabaseSettings
from services.registry.iam.memory import MemoryIamStore
from services.registry.iam.model import IamStore
from services.registry.iam.postgres import MIGRATIONS, SCHEMA, PostgresIamStore
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with open_database(DatabaseSettings(database_url=postgres_url), application_name="test") as database:
        async with database.bare_transaction() as connection:
            await connection.execute("DROP SCHEMA IF EXISTS iam CASCADE")
        await migrate(database, SCHEMA, MIGRATIONS)
        yield database


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> IamStore:
    """Return an empty store of each kind."""
    if request.param == "memory":
        return MemoryIamStore()
    return PostgresIamStore(request.getfixturevalue("database"))
