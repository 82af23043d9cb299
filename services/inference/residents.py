"""What is in memory: loaded once for all who need it, kept while it is used, given up least recently used first."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.inference.flights import Flights

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Resident(Generic[T]):
    """One of them; ``idle`` is set while it has no users."""

    value: T
    last_used: int
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Residents(Generic[T]):
    """Things in memory by their keys. Belongs to the event loop."""

    def __init__(self, unload: Callable[[T], Awaitable[None]]) -> None:
        """Start empty.

        Args:
            unload: gives the memory of one of them back.
        """
        self._unload = unload
        self._residents: dict[str, _Resident[T]] = {}
        self._leaving: dict[str, T] = {}
        self._flights = Flights()
        self._clock = itertools.count(1)

    def __contains__(self, key: str) -> bool:
        """Whether it can be used at once."""
        return key in self._residents

    def values(self) -> list[T]:
        """Those that can be used at once."""
        return [resident.value for resident in self._residents.values()]

    def held(self) -> list[T]:
        """Those whose memory is taken: the same, and those that are being unloaded."""
        return [*self.values(), *self._leaving.values()]

    @asynccontextmanager
    async def lease(self, key: str, load: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        """Load it if need be, once for all who ask, and keep it while the block runs.

        Raises:
            DomainError: what ``load`` raises.
        """
        while (resident := self._residents.get(key)) is None:
            await self._flights.join(key, lambda: self._load(key, load))
        resident.users += 1
        resident.idle.clear()
        try:
            yield resident.value
        finally:
            resident.users -= 1
            resident.last_used = next(self._clock)
            if not resident.users:
                resident.idle.set()

    async def make_room(self) -> bool:
        """Unload the one that was used least recently; False where all are in use.

        Where there is none, but one is being unloaded, wait for that.
        """
        idle = [key for key, resident in self._residents.items() if not resident.users]
        if idle:
            await self._drop(min(idle, key=lambda key: self._residents[key].last_used))
            return True
        if self._leaving:
            await self._flights.join(next(iter(self._leaving)), _nothing)
            return True
        return False

    async def unload(self, key: str) -> bool:
        """Unload it at the first moment at which nobody uses it; until then it is used as ever.

        Returns:
            Whether it was in memory.
        """
        resident = self._residents.get(key)
        if resident is None:
            return False
        while resident.users:
            await resident.idle.wait()
        if self._residents.get(key) is resident:  # nobody else unloaded it meanwhile
            await self._drop(key)
        return True

    async def end_loading(self) -> None:
        """Cancel what is being loaded, and wait until that is gone."""
        await self._flights.close()

    def forget(self) -> None:
        """Drop all of them without unloading, because what they are part of is going."""
        self._residents.clear()

    async def clear(self) -> None:
        """Unload all of them, used or not."""
        for key in list(self._residents):
            await self._drop(key)

    async def _load(self, key: str, load: Callable[[], Awaitable[T]]) -> None:
        self._residents[key] = _Resident(await load(), next(self._clock))

    async def _drop(self, key: str) -> None:
        """Take it away from now on; who asks for it again waits until it is gone, and loads it again."""
        value = self._residents.pop(key).value
        self._leaving[key] = value
        await self._flights.join(key, lambda: self._leave(key, value))

    async def _leave(self, key: str, value: T) -> None:
        try:
            await self._unload(value)
        finally:
            del self._leaving[key]


async def _nothing() -> None:
    pass
