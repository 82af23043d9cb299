"""One process's way to Postgres."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool

from services.common.db.failures import driver_errors
from services.common.db.notifications import Notifications
from services.common.errors import DomainError, Reason
from services.common.settings import DatabaseSettings

__all__ = ["Connection", "Database", "open_database"]

Connection = AsyncConnection[DictRow]
"""A connection inside a transaction; rows are dictionaries by column name."""

Step = Callable[[], Awaitable[None]]

POOL_TIMEOUT: Final = 3.0
"""Seconds that a call waits for a connection before it answers DATABASE_UNAVAILABLE."""

RECONNECT_SECONDS: Final = 1.0
"""The pool doubles its delays within such a period and then starts anew, so that it never sleeps for long."""

# A server that vanished without closing its sockets is noticed within about half a minute, and no statement or
# forgotten transaction can hold a lock for longer than a minute.
_PARAMETERS: Final[Mapping[str, str | int]] = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
}


class Database:
    """A pool of connections that comes up without its server and finds it again by itself. Made by `open_database`."""

    def __init__(self, conninfo: str, pool_size: int) -> None:
        """Use a libpq connection string; nothing is connected before `start`."""
        self._conninfo = conninfo
        self._first: tuple[Step, ...] = ()
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            connection_class=AsyncConnection[DictRow],
            kwargs={"row_factory": dict_row},
            open=False,
            min_size=1,
            max_size=pool_size,
            timeout=POOL_TIMEOUT,
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=_try_again,
            check=self._check,
        )

    async def start(self) -> None:
        """Begin to connect in the background."""
        await self._pool.open(wait=False)

    async def stop(self) -> None:
        """Close every connection; calls that wait for one get DATABASE_UNAVAILABLE."""
        await self._pool.close()

    def before_use(self, step: Step) -> None:
        """Run `step` before the first transaction, and before each one until it has succeeded once; several in their order.

        The step connects through `bare_transaction`. It may run several times at once and in several processes.
        """
        self._first = (*self._first, step)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a transaction: committed when the block ends, rolled back when it raises.

        A connection that broke while it was idle is replaced before anything is sent on it. One that breaks later
        fails the call, because nobody can know what was done.

        Raises:
            DomainError: DATABASE_UNAVAILABLE with `retry_after`; DATABASE_CONFLICT; INTERNAL.
        """
        if steps := self._first:
            for step in steps:
                await step()
            # Others may have been added meanwhile.
            self._first = tuple(step for step in self._first if step not in steps)
        async with self.bare_transaction() as connection:
            yield connection

    @asynccontextmanager
    async def bare_transaction(self) -> AsyncIterator[Connection]:
        """Open a transaction as `transaction` does, but without what must come first."""
        with driver_errors():
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Notifications]:
        """Listen on a channel, on a connection of its own.

        It does not reconnect: its reader's loop does, and has to look at its tables again then.

        Raises:
            DomainError: DATABASE_UNAVAILABLE.
        """
        with driver_errors():
            connection: AsyncConnection[Any] = await AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            with driver_errors():
                await connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
            yield Notifications(connection)
        finally:
            await connection.close()

    async def check(self) -> None:
        """Prove that Postgres answers now (readiness).

        Raises:
            DomainError: as `transaction`.
        """
        async with self.transaction() as connection:
            await connection.execute("SELECT 1")

    async def _check(self, connection: Connection) -> None:
        """Refuse a pooled connection that is broken, and look through the others: a restart breaks all at once."""
        try:
            async with asyncio.timeout(POOL_TIMEOUT):
                await AsyncConnectionPool.check_connection(connection)
        except TimeoutError:
            # The server is there and does not react, which no keepalive notices.
            await connection.close()
            raise
        except psycopg.Error:
            await self._pool.check()
            raise


async def _try_again(pool: AsyncConnectionPool[Any]) -> None:
    """Start the next period of attempts; without this the pool would wait for the next caller."""
    await pool.check()


@asynccontextmanager
async def open_database(settings: DatabaseSettings, *, application_name: str) -> AsyncIterator[Database]:
    """Open the database that the settings name; it may be down.

    Raises:
        DomainError: SETTINGS_INVALID: TENON_DATABASE_URL is not a Postgres URL.
    """
    conninfo = _conninfo(settings.database_url.get_secret_value(), application_name)
    database = Database(conninfo, settings.database_pool_size)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


def _conninfo(url: str, application_name: str) -> str:
    try:
        stated = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        stated = {"port": "none"}
    # libpq itself looks at the port only when it connects, and would then look like a server that is down.
    if not all(port.isdecimal() for port in str(stated.get("port") or "5432").split(",")):
        # Without a cause: it quotes parts of the URL.
        message = "TENON_DATABASE_URL is no Postgres URL. Write postgresql://user:password@host:port/database."
        raise DomainError(Reason.SETTINGS_INVALID, message)
    return make_conninfo(url, application_name=application_name, **_PARAMETERS)
