"""Keys and values of beginnings that may come again, in blocks that are named by what they were computed from.

A block's name is a digest over adapter, all tokens before it, and its own; never an adapter's name. So a block is found by
whoever would compute the same numbers, and by nobody else.
"""

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

import torch

from services.inference.engine.batched.kv import KvMemory, LayerShape, Span, token_bytes

BLOCK: Final = 32
"""Positions of a block."""


class PrefixCache:
    """Blocks within a budget, least recently used ones dropped. Belongs to the engine's thread."""

    def __init__(
        self, layers: Sequence[LayerShape], *, budget_bytes: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Set memory aside; what is never written takes none from the machine."""
        count = budget_bytes // (BLOCK * token_bytes(layers, dtype))
        self._free = list(range(count - 1, -1, -1))
        self._blocks: OrderedDict[bytes, int] = OrderedDict()
        self._stores = [
            torch.empty(count, BLOCK, shape.heads, width, dtype=dtype, device=device)
            for widths in ([s.key_width for s in layers], [s.value_width for s in layers])
            for shape, width in zip(layers, widths, strict=True)
        ]
        self._device = device

    @property
    def size_bytes(self) -> int:
        """Memory set aside."""
        return sum(store.nbytes for store in self._stores)

    def restore(self, memory: KvMemory, span: Span, adapter: str | None, tokens: Sequence[int]) -> int:
        """Copy the longest known beginning of some tokens into a span.

        Returns:
            Positions that need not be computed.
        """
        found: list[bytes] = []
        for name in _names(adapter, tokens):
            if name not in self._blocks:
                break
            found.append(name)
        if not found:
            return 0
        self._touch(found)
        ids = torch.tensor([self._blocks[name] for name in found], device=self._device)
        length = len(found) * BLOCK
        for store, arena in zip(self._stores, memory.tensors(), strict=True):
            arena[span.positions(0, length)].view(len(found), *store.shape[1:]).copy_(store[ids])
        return length

    def keep(self, memory: KvMemory, span: Span, adapter: str | None, tokens: Sequence[int]) -> None:
        """Keep what was computed of some tokens, whose keys and values lie at a span's beginning."""
        names = list(_names(adapter, tokens))[: len(self._blocks) + len(self._free)]
        # What is kept already is young again first, so that it does not make room for its own continuation.
        self._touch([name for name in names if name in self._blocks])
        places, ids = [], []
        for place, name in enumerate(names):
            if name not in self._blocks:
                self._blocks[name] = self._free.pop() if self._free else self._blocks.popitem(last=False)[1]
                places.append(place)
                ids.append(self._blocks[name])
        if not ids:
            return
        self._touch(names)
        try:
            to, source = torch.tensor(ids, device=self._device), torch.tensor(places, device=self._device)
            for store, arena in zip(self._stores, memory.tensors(), strict=True):
                computed = arena[span.positions(0, len(names) * BLOCK)].view(len(names), *store.shape[1:])
                store.index_copy_(0, to, computed[source])
        except BaseException:
            # Under their names they would be taken for what they are not.
            self._free += [self._blocks.pop(names[place]) for place in places]
            raise

    def _touch(self, names: Sequence[bytes]) -> None:
        """Mark as used; the later a block in its text, the sooner it goes."""
        for name in reversed(names):
            if name in self._blocks:
                self._blocks.move_to_end(name)


def _names(adapter: str | None, tokens: Sequence[int]) -> Iterator[bytes]:
    name = hashlib.blake2b((adapter or "").encode(), digest_size=16).digest()
    for begin in range(0, len(tokens) - BLOCK + 1, BLOCK):
        block = struct.pack(f"<{BLOCK}q", *tokens[begin : begin + BLOCK])
        name = hashlib.blake2b(name + block, digest_size=16).digest()
        yield name
