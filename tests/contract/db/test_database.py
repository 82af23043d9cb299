"""The database pool against a real Postgres: transactions, errors, outage and recovery."""

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from services.common.db import Database, open_database
from services.common.errors import DomainError, Reason
from services.common.settings import DatabaseSettings
from tests.support.postgres import PostgresServer


def settings(url: str, pool_size: int = 4) -> DatabaseSettings:
    return DatabaseSettings(database_url=url, database_pool_size=pool_size)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with open_database(settings(postgres_url), application_name="test") as database:
        yield database


async def one(database: Database) -> object:
    async with database.transaction() as connection:
        row = await (await connection.execute("SELECT 1 AS one")).fetchone()
        return row and row["one"]


async def reason(database: Database) -> Reason:
    with pytest.raises(DomainError) as caught:
        await one(database)
    return caught.value.reason


async def test_transaction_commits_at_the_end_and_undoes_on_error(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE kept (n integer)")
        await connection.execute("INSERT INTO kept VALUES (1)")

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (2)")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with database.transaction() as connection:
        rows = await (await connection.execute("SELECT n FROM kept")).fetchall()
    assert rows == [{"n": 1}]


async def test_application_name_and_time_zone_are_set(database: Database) -> None:
    async with database.transaction() as connection:
        row = await (
            await connection.execute(
                "SELECT current_setting('application_name') AS name, current_setting('timezone') AS zone"
            )
        ).fetchone()
    assert row == {"name": "test", "zone": "UTC"}


async def test_a_statement_that_postgres_refuses_is_internal_and_says_nothing_of_itself(database: Database) -> None:
    with pytest.raises(DomainError) as caught:
        async with database.transaction() as connection:
            await connection.execute("SELECT secret_column FROM no_such_table")
    assert caught.value.reason is Reason.INTERNAL
    assert "no_such_table" not in caught.value.message


async def test_two_transactions_that_meet_are_a_conflict(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE counter AS SELECT 1 AS n")

    async def meet() -> None:
        async with database.transaction() as first:
            await first.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            await first.execute("SELECT n FROM counter")
            async with database.transaction() as second:
                await second.execute("UPDATE counter SET n = n + 1")
            await first.execute("UPDATE counter SET n = n + 1")

    with pytest.raises(DomainError) as caught:
        await meet()
    assert caught.value.reason is Reason.DATABASE_CONFLICT
    assert caught.value.retry_after is not None


async def test_a_pool_with_every_connection_in_use_answers_within_its_timeout(postgres_url: str) -> None:
    async with open_database(settings(postgres_url, pool_size=1), application_name="test") as database:
        async with database.transaction():
            started = time.monotonic()
            assert await reason(database) is Reason.DATABASE_UNAVAILABLE
            assert time.monotonic() - started < 5
        assert await one(database) == 1


async def test_a_cancelled_statement_gives_its_connection_back(postgres_url: str) -> None:
    async with open_database(settings(postgres_url, pool_size=1), application_name="test") as database:

        async def slow() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.3)
        assert await one(database) == 1


@pytest.mark.parametrize("url", ["postgresql://u:hush@h:port/x", "postgresql://u:hush@h/x y=?", "hush"])
async def test_a_url_that_is_none_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(DomainError) as caught:
        async with open_database(settings(url), application_name="test"):
            pass
    assert caught.value.reason is Reason.SETTINGS_INVALID
    assert "hush" not in caught.value.message


async def test_wrong_password_is_unavailable_and_says_no_password(postgres_server: PostgresServer) -> None:
    url = postgres_server.url().replace(postgres_server.password, "hush")
    async with open_database(settings(url), application_name="test") as database:
        with pytest.raises(DomainError) as caught:
            await database.check()
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    assert "hush" not in caught.value.message


async def test_it_comes_up_while_postgres_is_down_and_finds_it_by_itself(stoppable_postgres: PostgresServer) -> None:
    stoppable_postgres.stop()
    async with open_database(settings(stoppable_postgres.url()), application_name="test") as database:
        assert await reason(database) is Reason.DATABASE_UNAVAILABLE
        stoppable_postgres.start()
        assert await one(database) == 1


async def test_after_a_restart_no_call_meets_a_broken_connection(stoppable_postgres: PostgresServer) -> None:
    async with open_database(settings(stoppable_postgres.url()), application_name="test") as database:
        await _fill(database, 4)
        stoppable_postgres.stop()
        stoppable_postgres.start()
        started = time.monotonic()
        assert await asyncio.gather(*(one(database) for _ in range(8))) == [1] * 8
        assert time.monotonic() - started < 2.5


async def test_a_long_outage_does_not_delay_the_recovery(stoppable_postgres: PostgresServer) -> None:
    async with open_database(settings(stoppable_postgres.url()), application_name="test") as database:
        await _fill(database, 3)
        stoppable_postgres.stop()
        for _ in range(2):
            assert await reason(database) is Reason.DATABASE_UNAVAILABLE
        stoppable_postgres.start()
        started = time.monotonic()
        assert await one(database) == 1
        assert time.monotonic() - started < 2.5


async def test_a_connection_that_breaks_in_a_transaction_is_unavailable(database: Database, postgres_url: str) -> None:
    async def lose_the_connection() -> None:
        async with database.transaction() as connection:
            row = await (await connection.execute("SELECT pg_backend_pid() AS pid")).fetchone()
            assert row is not None
            with psycopg.connect(postgres_url) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [row["pid"]])
            await connection.execute("SELECT 1")

    with pytest.raises(DomainError) as caught:
        await lose_the_connection()
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    assert await one(database) == 1


async def test_notifications_arrive_in_order_and_a_wait_ends(database: Database) -> None:
    async with database.listen("news") as news:
        async with database.transaction() as connection:
            for payload in ("one", "two"):
                await connection.execute("SELECT pg_notify('news', %s)", [payload])
        assert [await anext(news), await news.wait(5)] == ["one", "two"]
        assert await news.wait(0.05) is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(news), 0.05)
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_notify('news', 'three')")
        assert await anext(news) == "three"


async def test_a_listener_learns_that_its_server_went_away(stoppable_postgres: PostgresServer) -> None:
    async with open_database(settings(stoppable_postgres.url()), application_name="test") as database:

        async def wait_for_news() -> None:
            async with database.listen("news") as news:
                stoppable_postgres.stop()
                await anext(news)

        for _ in range(2):  # once cut off, once with nobody there
            with pytest.raises(DomainError) as caught:
                await wait_for_news()
            assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
        stoppable_postgres.start()


async def _fill(database: Database, connections: int) -> None:
    """Make the pool hold so many connections."""
    all_open = asyncio.Barrier(connections)

    async def hold() -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
            await asyncio.wait_for(all_open.wait(), 10)

    await asyncio.gather(*(hold() for _ in range(connections)))
