"""The adapters of one base: loaded on demand, each after it has passed every check, kept while they are used."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from services.common.errors import DomainError
from services.inference.admission import Admission
from services.inference.engine.protocol import Engine
from services.inference.flights import Flights
from services.inference.model import AdapterVersion

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class LoadedAdapter:
    """An adapter in the engine.

    Attributes:
        version: which one.
        applied_tensors: tensors in use, which is all of them.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
        users: requests that use it now.
        last_used: position in the order of use.
    """

    version: AdapterVersion
    applied_tensors: int
    size_bytes: int
    load_time: datetime
    users: int = 0
    last_used: int = 0


class AdapterPool:
    """Adapters attached to one engine. Belongs to the event loop.

    A version that is revoked, or whose signer is trusted no more, is refused before the pool is asked, for every request;
    what it still holds of it goes when it is least recently used.
    """

    def __init__(self, engine: Engine, admission: Admission, *, capacity: int) -> None:
        """Start empty.

        Args:
            engine: where adapters are attached.
            admission: checks and attaches them.
            capacity: most adapters that stay when no request uses them.
        """
        self._engine = engine
        self._admission = admission
        self._capacity = capacity
        self._loaded: dict[str, LoadedAdapter] = {}
        self._flights = Flights()
        self._clock = itertools.count(1)

    @asynccontextmanager
    async def lease(self, version: AdapterVersion) -> AsyncIterator[LoadedAdapter]:
        """Load a version if need be, and keep it loaded while the block runs.

        Raises:
            DomainError: see ``Admission.admit``.
        """
        digest = version.name.version
        while (adapter := self._loaded.get(digest)) is None:
            await self._flights.join(digest, lambda: self._load(version))
        adapter.users += 1
        try:
            yield adapter
        finally:
            adapter.users -= 1
            adapter.last_used = next(self._clock)
            await self._shrink()

    def loaded(self) -> list[LoadedAdapter]:
        """Those in memory."""
        return list(self._loaded.values())

    async def close(self) -> None:
        """End what is being loaded."""
        await self._flights.close()

    async def _load(self, version: AdapterVersion) -> None:
        try:
            attached = await self._admission.admit(version)
        except DomainError as error:
            log.warning("adapter refused", adapter=str(version.name), reason=error.reason.value, why=error.message)
            raise
        self._loaded[version.name.version] = LoadedAdapter(
            version,
            attached.applied_tensors,
            attached.size_bytes,
            datetime.now(UTC),
            last_used=next(self._clock),
        )
        log.info(
            "adapter loaded",
            adapter=str(version.name),
            tensors=attached.applied_tensors,
            size_bytes=attached.size_bytes,
        )

    async def _shrink(self) -> None:
        idle = sorted((a for a in self._loaded.values() if not a.users), key=lambda adapter: adapter.last_used)
        for adapter in idle[: max(0, len(self._loaded) - self._capacity)]:
            digest = adapter.version.name.version
            del self._loaded[digest]
            await self._engine.detach(digest)
            log.info("adapter unloaded", adapter=str(adapter.version.name))
