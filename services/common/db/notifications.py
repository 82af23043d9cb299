"""LISTEN as an async iterator that may also be asked to wait no longer than so long."""

from collections import deque
from typing import Any, Self

from psycopg import AsyncConnection

from services.common.db.failures import driver_errors


class Notifications:
    """Payloads of one channel, in order. Made by `Database.listen`.

    A notification is a hint, never the news itself: what arrives while the connection is away is lost, so its readers
    look again by themselves from time to time.
    """

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        """Read from a connection in autocommit mode that already listens."""
        self._connection = connection
        self._pending: deque[str] = deque()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> str:
        """Wait for the next payload. A cancelled wait loses nothing.

        Raises:
            DomainError: DATABASE_UNAVAILABLE: the connection is gone; leave the context and listen again.
        """
        while True:
            payload = await self.wait(timeout=None)
            if payload is not None:
                return payload

    async def wait(self, timeout: float | None) -> str | None:  # noqa: ASYNC109 - psycopg waits; its clock is the one
        """Return the next payload, or None after `timeout` seconds.

        Raises:
            DomainError: DATABASE_UNAVAILABLE, as in `__anext__`.
        """
        if not self._pending:
            with driver_errors():
                async for notification in self._connection.notifies(timeout=timeout, stop_after=1):
                    self._pending.append(notification.payload)
        return self._pending.popleft() if self._pending else None
