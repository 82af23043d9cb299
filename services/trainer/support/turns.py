"""Work that only so many may do at a time, and so many may wait for."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason

_RETRY_SECONDS: Final = 5.0


class Turns:
    """Gives turns in the order in which they were asked for."""

    def __init__(self, *, at_once: int, most_waiting: int, work: str) -> None:
        """Begin with nobody.

        Args:
            at_once: how many may have a turn at the same time.
            most_waiting: how many may wait beside them.
            work: what they wait for, to be told to whoever comes too late: ``plans to be reckoned``.
        """
        self._free = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._work = work
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends.

        Raises:
            DomainError: QUEUE_FULL.
        """
        if self._waiting >= self._most_waiting:
            text = f"{self._most_waiting} {self._work} wait already. Try again in a moment."
            raise DomainError(Reason.QUEUE_FULL, text, retry_after=_RETRY_SECONDS)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


@asynccontextmanager
async def scratch_directory(prefix: str, parent: Path | None) -> AsyncIterator[Path]:
    """Make a directory for a while, below the system's temporary one if there is no parent."""
    directory = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix=prefix, dir=parent)
    try:
        yield Path(directory.name)
    finally:
        await asyncio.to_thread(directory.cleanup)
