"""The bases in memory: loaded on demand, one load of a base at a time, within a budget; idle ones make room."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from services.common.bases.sources import with_first_source
from services.common.bases.text import BaseText, load_text
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, DigestCache, OpenBase, compare, open_base
from services.inference.adapters import AdapterPool
from services.inference.blocking import Blocking
from services.inference.engine.protocol import Engine, EngineLoader
from services.inference.flights import Flights
from services.inference.model import RegisteredBase

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class HostedBase:
    """A base in memory.

    Attributes:
        registered: as the registry knew it when it was loaded.
        engine: computes.
        text: tokenizer, template, stop tokens.
        adapters: attached to the engine.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
        users: requests that use it now.
        last_used: position in the order of use.
    """

    registered: RegisteredBase
    engine: Engine
    text: BaseText
    adapters: AdapterPool
    size_bytes: int
    load_time: datetime
    users: int = 0
    last_used: int = 0


class BaseFiles:
    """Finds the files of a registered base and proves that they are the ones. Every call blocks."""

    def __init__(self, *, cache_dir: Path, roots: Sequence[Path], verify_always: bool = False) -> None:
        """Look for bases.

        Args:
            cache_dir: keeps downloads and digests.
            roots: ``file://`` sources lie below them.
            verify_always: hash files at every load, also if they have not changed since they were hashed.
        """
        self._cache_dir = cache_dir
        self._roots = tuple(roots)
        self._digests = DigestCache(cache_dir / "digests", verify_always=verify_always)

    def open(self, base: RegisteredBase) -> tuple[OpenBase, BaseFingerprint]:
        """Open the base's files from the first source that has the bytes it was registered with.

        Raises:
            DomainError: BASE_FINGERPRINT_MISMATCH, BASE_SOURCE_UNAVAILABLE, or what is wrong with its only source.
        """
        return with_first_source(
            base.sources, lambda directory: self._check(base, directory), cache_dir=self._cache_dir, roots=self._roots
        )

    def _check(self, base: RegisteredBase, directory: Path) -> tuple[OpenBase, BaseFingerprint]:
        opened = open_base(directory)
        try:
            fingerprint = opened.fingerprint(cache=self._digests)
            if fingerprint.id != base.fingerprint_id:
                raise _changed(base, fingerprint)
        except DomainError:
            opened.close()
            raise
        return opened, fingerprint


class BasePool:
    """Bases within a memory budget. Belongs to the event loop."""

    def __init__(
        self,
        files: BaseFiles,
        engines: EngineLoader,
        adapters: Callable[[Engine, RegisteredBase, BaseFingerprint], AdapterPool],
        *,
        blocking: Blocking,
        budget_bytes: int,
    ) -> None:
        """Start empty.

        Args:
            files: where bases come from.
            engines: makes an engine of a base.
            adapters: makes the pool of an engine's adapters.
            blocking: threads for reading and hashing.
            budget_bytes: most memory for the weights of bases.
        """
        self._files = files
        self._engines = engines
        self._adapters = adapters
        self._blocking = blocking
        self._budget = budget_bytes
        self._hosted: dict[str, HostedBase] = {}
        self._reserved: dict[str, int] = {}
        self._flights = Flights()
        self._building = asyncio.Lock()
        self._clock = itertools.count(1)

    @asynccontextmanager
    async def lease(self, base: RegisteredBase) -> AsyncIterator[HostedBase]:
        """Load a base if need be, and keep it loaded while the block runs.

        Raises:
            DomainError: BASE_FINGERPRINT_MISMATCH, BASE_SOURCE_UNAVAILABLE, BASE_NOT_SUPPORTED, OUT_OF_MEMORY …
        """
        key = _key(base)
        while (hosted := self._hosted.get(key)) is None:
            await self._flights.join(key, lambda: self._load(base))
        hosted.users += 1
        try:
            yield hosted
        finally:
            hosted.users -= 1
            hosted.last_used = next(self._clock)

    def hosted(self) -> list[HostedBase]:
        """Those in memory."""
        return list(self._hosted.values())

    async def close(self) -> None:
        """Unload everything."""
        await self._flights.close()
        for key in list(self._hosted):
            await self._unload(key)

    async def _load(self, base: RegisteredBase) -> None:
        key = _key(base)
        await self._reserve(base)
        try:
            opened, fingerprint = await self._blocking.run(self._files.open, base)
            with opened:
                text = await self._blocking.run(load_text, opened)
                async with self._building:
                    engine = await self._engines.load(opened, fingerprint)
            pool = self._adapters(engine, base, fingerprint)
            self._hosted[key] = HostedBase(
                base, engine, text, pool, engine.size_bytes, datetime.now(UTC), last_used=next(self._clock)
            )
        finally:
            del self._reserved[key]
        log.info("base loaded", base_model=base.name, size_bytes=engine.size_bytes, compute=engine.compute)

    async def _reserve(self, base: RegisteredBase) -> None:
        """Set memory aside, unloading idle bases, least recently used first.

        Raises:
            DomainError: OUT_OF_MEMORY; with ``retry_after`` where bases in use are in the way.
        """
        needed = self._engines.estimate(base.fingerprint.parameter_count)
        if needed > self._budget:
            raise DomainError(
                Reason.OUT_OF_MEMORY,
                f"{base.name} takes {needed} bytes; all bases together may take {self._budget} "
                "(TENON_INFERENCE_MEMORY_BYTES).",
            )
        self._reserved[_key(base)] = needed
        while self._used() > self._budget:
            idle = [key for key, hosted in self._hosted.items() if not hosted.users]
            if not idle:
                del self._reserved[_key(base)]
                raise self._full(base, needed)
            await self._unload(min(idle, key=lambda key: self._hosted[key].last_used))
            await asyncio.to_thread(gc.collect)  # models refer to themselves; they would keep their memory for a while

    def _used(self) -> int:
        return sum(hosted.size_bytes for hosted in self._hosted.values()) + sum(self._reserved.values())

    def _full(self, base: RegisteredBase, needed: int) -> DomainError:
        busy = ", ".join(hosted.registered.name for hosted in self._hosted.values()) or "others being loaded"
        return DomainError(
            Reason.OUT_OF_MEMORY,
            f"{base.name} takes {needed} bytes, and the bases in use ({busy}) leave no room for it. Try again later.",
            retry_after=5.0,
        )

    async def _unload(self, key: str) -> None:
        hosted = self._hosted.pop(key)
        await hosted.adapters.close()
        await hosted.engine.close()
        log.info("base unloaded", base_model=hosted.registered.name)


def _key(base: RegisteredBase) -> str:
    """Two names for the same weights are two bases here: template and sampling defaults are no part of a fingerprint.

    Nor is what a base is declared derived from, and adapters are admitted by it.
    """
    return f"{base.name} {base.fingerprint_id} {base.fingerprint.root}"


def _changed(base: RegisteredBase, found: BaseFingerprint) -> DomainError:
    # The registry's short view leaves the quantization out; it is in the id, which has been compared.
    expected = replace(base.fingerprint, quantization=found.quantization)
    comparison = compare(expected, found)
    first = comparison.differences[0]
    return DomainError(
        Reason.BASE_FINGERPRINT_MISMATCH,
        f"The files found for {base.name} are not those it was registered with: {first.subject} is "
        f"{first.actual or 'missing'}, and was {first.expected or 'missing'} ({comparison.verdict}). "
        "Restore the files, or register these as another base model.",
        {"verdict": comparison.verdict, "expected_id": base.fingerprint_id, "actual_id": found.id},
    )
