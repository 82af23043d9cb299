"""The adapters of one base: loaded on demand, each after it has passed every check, kept while they are used."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, TensorEntry
from services.common.manifest import ManifestFile
from services.inference.adapter_config import MAX_CONFIG_BYTES, invalid, parse_config
from services.inference.adapter_files import AdapterFiles
from services.inference.blocking import Blocking
from services.inference.engine.protocol import AdapterWeights, Engine
from services.inference.flights import Flights
from services.inference.model import AdapterVersion
from services.inference.verify import (
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    check_manifest,
    needed_files,
    plan_layers,
    read_header,
    read_layers,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class LoadedAdapter:
    """An adapter in the engine.

    Attributes:
        version: which one.
        applied_tensors: tensors in use.
        total_tensors: tensors in its file.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
        users: requests that use it now.
        last_used: position in the order of use.
    """

    version: AdapterVersion
    applied_tensors: int
    total_tensors: int
    size_bytes: int
    load_time: datetime
    users: int = 0
    last_used: int = 0


class AdapterPool:
    """Adapters attached to one engine. Belongs to the event loop."""

    def __init__(
        self,
        engine: Engine,
        fingerprint: BaseFingerprint,
        files: AdapterFiles,
        *,
        blocking: Blocking,
        capacity: int,
    ) -> None:
        """Start empty.

        Args:
            engine: where adapters are attached.
            fingerprint: of the engine's base, recomputed from its bytes.
            files: where adapters come from.
            blocking: threads for reading and checking.
            capacity: most adapters that stay when no request uses them.
        """
        self._engine = engine
        self._fingerprint = fingerprint
        self._files = files
        self._blocking = blocking
        self._capacity = capacity
        self._loaded: dict[str, LoadedAdapter] = {}
        self._flights = Flights()
        self._clock = itertools.count(1)

    @asynccontextmanager
    async def lease(self, version: AdapterVersion) -> AsyncIterator[LoadedAdapter]:
        """Load a version if need be, and keep it loaded while the block runs.

        Raises:
            DomainError: BASE_FINGERPRINT_MISMATCH, ADAPTER_INVALID, ADAPTER_NO_EFFECT, ADAPTER_FILES_MISSING,
                ARTIFACT_CORRUPT, LIMIT_EXCEEDED, ARTIFACT_STORE_UNAVAILABLE.
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
        weights, total = await self._blocking.run(self._admit, version)
        attached = await self._engine.attach(weights)
        if attached.applied_tensors != total:
            await self._engine.detach(weights.digest)
            raise invalid(f"only {attached.applied_tensors} of its {total} tensors found their place")
        self._loaded[weights.digest] = LoadedAdapter(
            version,
            attached.applied_tensors,
            total,
            attached.size_bytes,
            datetime.now(UTC),
            last_used=next(self._clock),
        )
        log.info("adapter loaded", adapter=str(version.name), tensors=total, size_bytes=attached.size_bytes)

    def _admit(self, version: AdapterVersion) -> tuple[AdapterWeights, int]:
        """Every check of admission, cheapest first; the weights are fetched only after all that their header tells."""
        manifest, project = version.manifest, version.name.project
        self._check_base(version)
        config_file, weights_file = needed_files(manifest)
        if config_file.size > MAX_CONFIG_BYTES:
            raise invalid(f"its {config_file.path} has {config_file.size} bytes; {MAX_CONFIG_BYTES} are read")
        config = parse_config(self._files.read(project, config_file))
        check_manifest(config, manifest)
        entries = self._header(project, weights_file)
        planned = plan_layers(config, entries, self._fingerprint.modules)
        data = self._files.read(project, weights_file)
        # The digest has been checked; so the header is the one that was planned with, if the range was honest.
        if read_header(_header_of(data), weights_file) != entries:
            raise DomainError(Reason.ARTIFACT_CORRUPT, f"The artifact store gave two headers of {weights_file.path}.")
        return AdapterWeights(version.name.version, read_layers(data, planned)), len(entries)

    def _check_base(self, version: AdapterVersion) -> None:
        expected, actual = version.manifest.base_fingerprint_id, self._fingerprint.id
        if expected != actual:
            raise DomainError(
                Reason.BASE_FINGERPRINT_MISMATCH,
                f"{version.name} was trained on {version.manifest.base_model} ({expected[:12]}), but the base that was "
                f"loaded is {actual[:12]}. Register the base that it was trained on.",
                {"expected_id": expected, "actual_id": actual},
            )

    def _header(self, project: str, file: ManifestFile) -> tuple[TensorEntry, ...]:
        if file.size <= PREFIX_BYTES:
            raise invalid(f"its {file.path} has only {file.size} bytes")
        length = int.from_bytes(self._files.head(project, file, 0, PREFIX_BYTES), "little")
        if not 0 < length <= min(MAX_HEADER_BYTES, file.size - PREFIX_BYTES):
            raise invalid(f"its {file.path} announces a header of {length} bytes in a file of {file.size}")
        return read_header(self._files.head(project, file, PREFIX_BYTES, length), file)

    async def _shrink(self) -> None:
        idle = sorted((a for a in self._loaded.values() if not a.users), key=lambda adapter: adapter.last_used)
        for adapter in idle[: max(0, len(self._loaded) - self._capacity)]:
            digest = adapter.version.name.version
            del self._loaded[digest]
            await self._engine.detach(digest)
            log.info("adapter unloaded", adapter=str(adapter.version.name))


def _header_of(data: bytes) -> bytes:
    return data[PREFIX_BYTES : PREFIX_BYTES + int.from_bytes(data[:PREFIX_BYTES], "little")]
