"""The bases in memory: loaded on demand, one load of a base at a time, within a budget; idle ones make room."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from services.common.bases.sources import with_first_source
from services.common.bases.text import BaseText, load_text
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, DigestCache, OpenBase, compare, open_base
from services.inference.adapters import AdapterPool
from services.inference.blocking import Blocking
from services.inference.constraints.vocabulary import Vocabulary
from services.inference.engine import heap
from services.inference.engine.protocol import Engine, EngineLoader
from services.inference.metrics import InferenceMetrics
from services.inference.model import RegisteredBase
from services.inference.residents import Residents

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class HostedBase:
    """A base in memory.

    Attributes:
        registered: as the registry knew it when it was loaded.
        engine: computes.
        text: tokenizer, template, stop tokens.
        vocabulary: the tokenizer's tokens.
        adapters: attached to the engine.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
    """

    registered: RegisteredBase
    engine: Engine
    text: BaseText
    vocabulary: Vocabulary
    adapters: AdapterPool
    size_bytes: int
    load_time: datetime


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
        metrics: InferenceMetrics,
        *,
        blocking: Blocking,
        budget_bytes: int,
    ) -> None:
        """Start empty.

        Args:
            files: where bases come from.
            engines: makes an engine of a base.
            adapters: makes the pool of an engine's adapters.
            metrics: what engines tell, and how loads end.
            blocking: threads for reading and hashing.
            budget_bytes: most memory for bases: their weights, and their budgets for keys and values.
        """
        self._files = files
        self._engines = engines
        self._adapters = adapters
        self._metrics = metrics
        self._blocking = blocking
        self._budget = budget_bytes
        self._bases: Residents[HostedBase] = Residents(_unload)
        self._reserved: dict[str, int] = {}
        self._building = asyncio.Lock()

    @asynccontextmanager
    async def lease(self, base: RegisteredBase) -> AsyncIterator[HostedBase]:
        """Load a base if need be, and keep it loaded while the block runs.

        Raises:
            DomainError: BASE_FINGERPRINT_MISMATCH, BASE_SOURCE_UNAVAILABLE, BASE_NOT_SUPPORTED, OUT_OF_MEMORY …
        """
        async with self._bases.lease(_key(base), partial(self._load, base)) as hosted:
            yield hosted

    def hosted(self) -> list[HostedBase]:
        """Those in memory."""
        return self._bases.values()

    async def unload(self, name: str) -> bool:
        """Give the memory of a base and its adapters back once no request uses it; False if it is not in memory.

        Args:
            name: ``baseModels/{id}``.
        """
        keys = [_key(hosted.registered) for hosted in self._bases.values() if hosted.registered.name == name]
        found = [await self._bases.unload(key) for key in keys]
        if any(found):
            await asyncio.to_thread(_give_back)
        return any(found)

    async def close(self) -> None:
        """Unload everything."""
        await self._bases.end_loading()
        await self._bases.clear()

    async def _load(self, base: RegisteredBase) -> HostedBase:
        with self._metrics.loading("base", base.name):
            hosted = await self._host(base)
        log.info("base loaded", base_model=base.name, size_bytes=hosted.size_bytes, compute=hosted.engine.compute)
        return hosted

    async def _host(self, base: RegisteredBase) -> HostedBase:
        opened, fingerprint = await self._blocking.run(self._files.open, base)
        try:
            with opened:
                await self._reserve(base, fingerprint)
                text = await self._blocking.run(load_text, opened)
                async with self._building:
                    engine = await self._engines.load(opened, fingerprint, self._metrics.engine(base.name))
        finally:
            self._reserved.pop(_key(base), None)
        pool = self._adapters(engine, base, fingerprint)
        vocabulary = Vocabulary(text.tokenizer, engine.vocabulary_size)
        return HostedBase(base, engine, text, vocabulary, pool, engine.size_bytes, datetime.now(UTC))

    async def _reserve(self, base: RegisteredBase, fingerprint: BaseFingerprint) -> None:
        """Set memory aside, unloading idle bases, least recently used first.

        Raises:
            DomainError: OUT_OF_MEMORY; with ``retry_after`` where bases in use are in the way.
        """
        needed = self._engines.estimate(fingerprint)
        if needed > self._budget:
            raise DomainError(
                Reason.OUT_OF_MEMORY,
                f"{base.name} takes {needed} bytes; all bases together may take {self._budget} "
                "(TENON_INFERENCE_MEMORY_BYTES).",
            )
        self._reserved[_key(base)] = needed
        while self._used() > self._budget:
            if not await self._bases.make_room():
                raise self._full(base, needed)
            await asyncio.to_thread(_give_back)

    def _used(self) -> int:
        return sum(hosted.size_bytes for hosted in self._bases.held()) + sum(self._reserved.values())

    def _full(self, base: RegisteredBase, needed: int) -> DomainError:
        busy = ", ".join(hosted.registered.name for hosted in self._bases.held()) or "others being loaded"
        return DomainError(
            Reason.OUT_OF_MEMORY,
            f"{base.name} takes {needed} bytes, and the bases in use ({busy}) leave no room for it. Try again later.",
            retry_after=5.0,
        )


async def _unload(hosted: HostedBase) -> None:
    await hosted.adapters.close()
    await hosted.engine.close()
    log.info("base unloaded", base_model=hosted.registered.name)


def _give_back() -> None:
    """Let the memory of unloaded bases go: models refer to themselves, and malloc keeps what it gets back."""
    gc.collect()
    heap.give_back()


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
