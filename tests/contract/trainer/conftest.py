"""Both stores of the trainer, empty, for every test that asks for `store`."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from services.common.db import Database, migrate, open_database
from services.common.settings import DatabaseSettings
from services.trainer.storage.memory import MemoryStore
from services.trainer.storage.postgres import MIGRATIONS, SCHEMA, PostgresStore
from services.trainer.storage.store import Store
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    settings = DatabaseSettings(database_url=SecretStr(postgres_url))
    async with open_database(settings, application_name="tests") as database:
        await migrate(database, SCHEMA, MIGRATIONS)
        yield database


@pytest.fixture
async def postgres_store(database: Database) -> Store:
    async with database.transaction() as connection:
        await connection.execute(
            "TRUNCATE trainer.datasets, trainer.jobs, trainer.requests, trainer.blob_holds CASCADE"
        )
    return PostgresStore(database)


@pytest.fixture
def memory_store() -> Store:
    return MemoryStore()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    chosen: Store = request.getfixturevalue(f"{request.param}_store")
    return chosen
