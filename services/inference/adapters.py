"""The adapters of one base: loaded on demand, each after it has passed every check, kept within a budget of memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog

from services.common.errors import DomainError, Reason
from services.inference.admission import Admission
from services.inference.engine.protocol import Engine
from services.inference.metrics import InferenceMetrics
from services.inference.model import AdapterVersion
from services.inference.residents import Residents

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RETRY_SECONDS = 2.0
"""After that, a request that keeps an adapter in memory may have ended."""


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """An adapter in the engine.

    Attributes:
        version: which one.
        applied_tensors: tensors in use, which is all of them.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
    """

    version: AdapterVersion
    applied_tensors: int
    size_bytes: int
    load_time: datetime


class AdapterPool:
    """Adapters attached to one engine. Belongs to the event loop.

    A version that is revoked, or whose signer is trusted no more, is refused before the pool is asked, for every request;
    what it still holds of it goes when it is least recently used.
    """

    def __init__(self, engine: Engine, admission: Admission, metrics: InferenceMetrics, *, budget_bytes: int) -> None:
        """Start empty.

        Args:
            engine: where adapters are attached.
            admission: checks and attaches them.
            metrics: counts what was in memory and what was not, and how loads end.
            budget_bytes: most memory that they may take together.
        """
        self._engine = engine
        self._admission = admission
        self._metrics = metrics
        self._budget = budget_bytes
        self._adapters: Residents[LoadedAdapter] = Residents(self._detach)
        self._reserved: dict[str, int] = {}

    @asynccontextmanager
    async def lease(self, version: AdapterVersion) -> AsyncIterator[LoadedAdapter]:
        """Load a version if need be, and keep it loaded while the block runs.

        Raises:
            DomainError: see ``Admission.admit``; OUT_OF_MEMORY, with ``retry_after`` where adapters in use are in the way.
        """
        digest = version.name.version
        self._metrics.looked_up("memory", hit=digest in self._adapters)
        async with self._adapters.lease(digest, partial(self._load, version)) as adapter:
            self._engine.prefetch(digest)
            yield adapter

    def loaded(self) -> list[LoadedAdapter]:
        """Those in memory."""
        return self._adapters.values()

    async def unload(self, digest: str) -> bool:
        """Give an adapter's memory back once no request uses it; False if it is not in memory."""
        return await self._adapters.unload(digest)

    async def close(self) -> None:
        """End what is being loaded; what is attached goes with the engine."""
        await self._adapters.end_loading()
        self._adapters.forget()

    async def _load(self, version: AdapterVersion) -> LoadedAdapter:
        try:
            with self._metrics.loading("adapter", version.manifest.base_model):
                attached = await self._admission.admit(version, partial(self._reserve, version))
        except DomainError as error:
            log.warning("adapter refused", adapter=str(version.name), reason=error.reason.value, why=error.message)
            raise
        finally:
            self._reserved.pop(version.name.version, None)
        log.info(
            "adapter loaded",
            adapter=str(version.name),
            tensors=attached.applied_tensors,
            size_bytes=attached.size_bytes,
        )
        return LoadedAdapter(version, attached.applied_tensors, attached.size_bytes, datetime.now(UTC))

    async def _reserve(self, version: AdapterVersion, size: int) -> None:
        """Set memory aside for a version that is being loaded, unloading idle ones, least recently used first."""
        if size > self._budget:
            raise DomainError(
                Reason.OUT_OF_MEMORY,
                f"The {version.label} takes {size} bytes; all adapters of a base together may take {self._budget} "
                "(TENON_INFERENCE_ADAPTER_MEMORY_BYTES).",
            )
        self._reserved[version.name.version] = size
        while self._used() > self._budget:
            if not await self._adapters.make_room():
                raise DomainError(
                    Reason.OUT_OF_MEMORY,
                    f"The {version.label} takes {size} bytes, and the adapters in use leave no room for it. Try again "
                    "later.",
                    retry_after=RETRY_SECONDS,
                )

    def _used(self) -> int:
        return sum(adapter.size_bytes for adapter in self._adapters.held()) + sum(self._reserved.values())

    async def _detach(self, adapter: LoadedAdapter) -> None:
        await self._engine.detach(adapter.version.name.version)
        log.info("adapter unloaded", adapter=str(adapter.version.name))
