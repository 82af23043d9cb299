"""Migrations against a real Postgres: once, in order, forward only, whole or not at all."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from services.common.db import Database, migrate, migrate_when_reachable, open_database
from services.common.db.migrations import load_migrations
from services.common.errors import DomainError, Reason
from services.common.settings import DatabaseSettings
from tests.support.postgres import PostgresServer

Package = Callable[[dict[str, str]], str]


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    url = postgres_server.create_database()
    async with open_database(DatabaseSettings(database_url=url), application_name="test") as database:
        yield database
    postgres_server.drop_database(url)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Make an importable package of the files given; a call later replaces it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(files: dict[str, str]) -> str:
        name = f"migrations_{secrets.token_hex(4)}"  # never one that was imported before
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        return name

    return make


FIRST = {"0001_things.sql": "CREATE TABLE app.things (n integer); CREATE INDEX ON app.things (n);"}
SECOND = {**FIRST, "0002_more.sql": "ALTER TABLE app.things ADD COLUMN m integer NOT NULL DEFAULT 7;"}


async def rows(database: Database, statement: str) -> list[dict[str, object]]:
    async with database.transaction() as connection:
        return await (await connection.execute(statement)).fetchall()


async def record(database: Database) -> list[object]:
    return [row["name"] for row in await rows(database, "SELECT name FROM app.migrations ORDER BY version")]


async def test_they_are_applied_in_order_and_recorded_and_a_second_time_is_harmless(
    database: Database, package: Package
) -> None:
    await migrate(database, "app", package(FIRST))
    await migrate(database, "app", package(SECOND))
    await migrate(database, "app", package(SECOND))
    assert await record(database) == ["things", "more"]
    await rows(database, "INSERT INTO app.things VALUES (1) RETURNING n")
    assert await rows(database, "SELECT * FROM app.things") == [{"n": 1, "m": 7}]


async def test_many_processes_at_once_apply_them_once(database: Database, package: Package) -> None:
    name = package(SECOND)
    await asyncio.gather(*(migrate(database, "app", name) for _ in range(8)))
    assert await record(database) == ["things", "more"]


async def test_a_database_of_a_newer_version_is_refused(database: Database, package: Package) -> None:
    await migrate(database, "app", package(SECOND))
    with pytest.raises(DomainError) as caught:
        await migrate(database, "app", package(FIRST))
    assert caught.value.reason is Reason.DATABASE_TOO_NEW
    assert "migration 2" in caught.value.message


async def test_a_migration_changed_after_it_was_applied_is_refused(database: Database, package: Package) -> None:
    await migrate(database, "app", package(FIRST))
    with pytest.raises(DomainError) as caught:
        await migrate(database, "app", package({"0001_things.sql": "CREATE TABLE app.things (n bigint)"}))
    assert caught.value.reason is Reason.DATABASE_TOO_NEW
    assert "0001_things" in caught.value.message


async def test_a_failing_migration_leaves_nothing_of_its_run(database: Database, package: Package) -> None:
    with pytest.raises(DomainError):
        await migrate(database, "app", package({**FIRST, "0002_wrong.sql": "SELECT no_such_function()"}))
    assert await rows(database, "SELECT 1 FROM pg_namespace WHERE nspname = 'app'") == []
    await migrate(database, "app", package(FIRST))
    assert await record(database) == ["things"]


async def test_where_postgres_is_down_the_first_transaction_that_reaches_it_migrates(
    stoppable_postgres: PostgresServer, package: Package
) -> None:
    url = stoppable_postgres.create_database()
    stoppable_postgres.stop()
    async with open_database(DatabaseSettings(database_url=url), application_name="test") as database:
        await migrate_when_reachable(database, "app", package(FIRST))
        stoppable_postgres.start()
        found = await asyncio.gather(*(rows(database, "SELECT n FROM app.things") for _ in range(3)))
        assert found == [[], [], []]


async def test_a_schema_that_is_too_new_is_known_at_once_and_by_every_transaction(
    database: Database, package: Package
) -> None:
    await migrate(database, "app", package(SECOND))
    name = package(FIRST)
    for call in (partial(migrate_when_reachable, database, "app", name), database.check):
        with pytest.raises(DomainError) as caught:
            await call()
        assert caught.value.reason is Reason.DATABASE_TOO_NEW


@pytest.mark.parametrize(
    "names", [["0002_late.sql"], ["0001_a.sql", "0001_b.sql"], ["0001_a.sql", "0003_c.sql"], ["one.sql"]]
)
def test_files_that_do_not_count_up_from_one_are_refused(package: Package, names: list[str]) -> None:
    with pytest.raises(ValueError, match="migrations_"):
        load_migrations(package(dict.fromkeys(names, "SELECT 1")))
