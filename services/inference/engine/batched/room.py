"""Implements ``Room``: spans of keys and values, what is kept of beginnings, and slots of adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import structlog

from services.inference.engine.batched.kv import KvMemory, Span
from services.inference.engine.batched.packing import Place
from services.inference.engine.batched.prefix import PrefixCache
from services.inference.engine.batched.rows import Piece, Row
from services.inference.engine.batched.slots import HostAdapter, Slots
from services.inference.engine.changes import Change
from services.inference.engine.protocol import EngineObserver

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HEADROOM: Final = 64
"""Positions that a row gets beyond its tokens, as far as it may need them, so that it need not move soon."""

_NOTHING: Final[Mapping[str, Change]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AttachedAdapter:
    """An adapter in host memory.

    Attributes:
        host: what it does to linear modules, or None if that is nothing.
        others: what it does to others.
    """

    host: HostAdapter | None
    others: Mapping[str, Change]


class EngineRoom:
    """Memory of one engine. Belongs to the engine's thread, but for ``attached``, whose entries others put and take."""

    def __init__(self, memory: KvMemory, prefixes: PrefixCache, slots: Slots, observer: EngineObserver) -> None:
        """Begin with nothing open."""
        self.attached: dict[str, AttachedAdapter] = {}
        self._memory = memory
        self._prefixes = prefixes
        self._slots = slots
        self._observer = observer
        self._open: dict[Row, Span] = {}

    def open(self, row: Row) -> bool:
        """See ``Room``."""
        # Attached again while rows use it as it was: the digest says that it is the same, and it may lie otherwise in a slot.
        adapter = row.adapter = self._used(row.request.adapter) or row.adapter
        span = self._memory.spans.take(self._wanted(row, len(row.tokens)))
        if span is None:
            return False
        host, pinned = adapter.host if adapter is not None else None, False
        try:
            if host is not None:
                hit = self._slots.has(host.digest)
                pinned = self._slots.pin(host)
                if not pinned:
                    return False
                self._observer.slot(hit=hit)
            row.computed = self._prefixes.restore(self._memory, span, row.request.adapter, row.tokens[:-1])
            self._open[row] = span
        finally:
            if row not in self._open:
                self._memory.spans.give_back(span)
                if host is not None and pinned:
                    self._slots.unpin(host.digest)
        self._observer.prefix(reused=row.computed, computed=len(row.tokens) - row.computed)
        return True

    def extend(self, row: Row, length: int) -> bool:
        """See ``Room``."""
        span = self._open[row]
        if length > span.capacity:
            larger = self._memory.grow(span, self._wanted(row, length), row.computed)
            if larger is None:
                return False
            self._open[row] = larger
        return True

    def close(self, row: Row) -> None:
        """See ``Room``."""
        span = self._open[row]
        if row.sound:
            self.keep(row)
        else:
            self._memory.clear(span)
        del self._open[row]
        self._memory.spans.give_back(span)
        if row.adapter is not None and row.adapter.host is not None:
            self._slots.unpin(row.adapter.host.digest)
            if self.attached.get(row.adapter.host.digest) is not row.adapter:
                self.forget(row.adapter.host.digest)

    def seats(self, row: Row) -> bool:
        """See ``Room``."""
        return row.adapter is None or row.adapter.host is None or self._slots.seats(row.adapter.host.digest)

    def fits(self, length: int) -> bool:
        """See ``Room``."""
        return self._memory.spans.fits(length)

    def keep(self, row: Row) -> None:
        """Keep what is computed of an open row, for others that begin alike; where that fails, nobody is worse off."""
        try:
            self._prefixes.keep(self._memory, self._open[row], row.request.adapter, row.tokens[: row.computed])
        except Exception:
            log.exception("a beginning could not be kept")

    def forget(self, digest: str) -> None:
        """Give up the slot of a detached adapter, once no row uses it."""
        if self._used(digest) is None:
            self._slots.forget(digest)

    def prefetch(self, digest: str) -> None:
        """Take an attached adapter into a slot, if there is one that nobody uses."""
        adapter = self.attached.get(digest)
        if adapter is None or adapter.host is None or self._used(digest) is not None:
            return
        if self._slots.pin(adapter.host):
            self._slots.unpin(digest)

    def place(self, piece: Piece) -> Place:
        """Where an open row and its adapter are."""
        span, adapter = self._open[piece.row], piece.row.adapter
        if adapter is None:
            return Place(span, None, 0, _NOTHING)
        if adapter.host is None:
            return Place(span, None, 0, adapter.others)
        bank = self._slots.bank(adapter.host.layout)
        return Place(span, bank, bank.slot(adapter.host.digest), adapter.others)

    def tidy(self) -> None:
        """Bring slots in use together where they have become scattered, and tell how full the memory is."""
        self._slots.gather()
        self._observer.kv_used(self._memory.used_bytes, self._memory.size_bytes)

    def _used(self, digest: str | None) -> AttachedAdapter | None:
        """An adapter as open rows use it, if any do."""
        if digest is None:
            return None
        return next((row.adapter for row in self._open if row.request.adapter == digest), None)

    def _wanted(self, row: Row, length: int) -> int:
        longest = len(row.request.token_ids) + row.request.max_tokens
        return max(length, min(longest, length + HEADROOM))
