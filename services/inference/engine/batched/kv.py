"""Memory for the keys and values of all rows: one arena for each layer, in which a row has a contiguous span.

Spans come in size classes, and an arena is cut into slabs that each hold spans of one class side by side. So rows of like
length lie at a constant distance and are attended to in one call, and a long row costs the short ones nothing.
"""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

SMALLEST: Final = 32
"""Positions of the smallest span."""

LARGEST_SLAB: Final = 6144
SLABS: Final = 16
"""An arena has about so many slabs at least, however small the budget."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What a layer keeps of a position: heads of keys and values, and their widths."""

    heads: int
    key_width: int
    value_width: int

    @property
    def width(self) -> int:
        """Numbers for one position."""
        return self.heads * (self.key_width + self.value_width)


@dataclass(frozen=True, slots=True)
class Span:
    """Positions ``begin`` to ``begin + capacity`` of every arena."""

    begin: int
    capacity: int

    def positions(self, start: int, end: int) -> slice:
        """Where a row's positions from ``start`` to ``end`` lie."""
        return slice(self.begin + start, self.begin + end)


class Spans:
    """Which parts of the arenas are taken; knows nothing of tensors."""

    def __init__(self, tokens: int) -> None:
        """Begin with all of it free."""
        self._slab = slab_size(tokens)
        self._count = tokens // self._slab
        self._class: list[int | None] = [None] * self._count
        self._free: list[list[int]] = [[] for _ in range(self._count)]
        self._used = 0

    @property
    def total(self) -> int:
        """Positions there are."""
        return self._count * self._slab

    @property
    def used(self) -> int:
        """Positions taken."""
        return self._used

    def fits(self, length: int) -> bool:
        """Whether so many positions could be had if nothing were taken."""
        return self._rounded(length) <= self.total

    def take(self, length: int) -> Span | None:
        """Take a span of at least so many positions, or None where there is none."""
        capacity = self._rounded(length)
        span = self._take_slot(capacity) if capacity <= self._slab else self._take_run(capacity // self._slab)
        if span is not None:
            self._used += span.capacity
        return span

    def give_back(self, span: Span) -> None:
        """Give a span back that was taken."""
        first, slot = divmod(span.begin, self._slab)
        self._used -= span.capacity
        if span.capacity > self._slab:
            for slab in range(first, first + span.capacity // self._slab):
                self._class[slab] = None
            return
        self._free[first].append(slot // span.capacity)
        if len(self._free[first]) == self._slab // span.capacity:
            self._class[first], self._free[first] = None, []

    def _rounded(self, length: int) -> int:
        if length > self._slab:
            return -(-length // self._slab) * self._slab
        return min(size_class(length), self._slab)

    def _take_slot(self, capacity: int) -> Span | None:
        # The lowest free place: rows in use stay close together.
        slab = next((i for i in range(self._count) if self._class[i] == capacity and self._free[i]), None)
        if slab is None:
            slab = next((i for i in range(self._count) if self._class[i] is None), None)
            if slab is None:
                return None
            self._class[slab], self._free[slab] = capacity, list(range(self._slab // capacity))
        slot = min(self._free[slab])
        self._free[slab].remove(slot)
        return Span(slab * self._slab + slot * capacity, capacity)

    def _take_run(self, slabs: int) -> Span | None:
        length = 0
        for end in range(self._count):
            length = length + 1 if self._class[end] is None else 0
            if length == slabs:
                begin = end - slabs + 1
                self._class[begin : end + 1] = [slabs * self._slab] * slabs
                return Span(begin * self._slab, slabs * self._slab)
        return None


class KvMemory:
    """The arenas, and the spans of rows in them. Belongs to the engine's thread."""

    def __init__(
        self,
        layers: Sequence[LayerShape],
        *,
        budget_bytes: int,
        most_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Set memory aside; what is never written takes none from the machine.

        Args:
            layers: what each layer keeps.
            budget_bytes: for keys and values of all layers.
            most_tokens: more than so many positions are never used.
            dtype: of keys and values.
            device: where they lie.
        """
        per_token = token_bytes(layers, dtype)
        tokens = min(most_tokens, budget_bytes // per_token)
        self.spans = Spans(max(tokens, SMALLEST))
        self._per_token = per_token
        total = self.spans.total
        # Zeros, for what lies beyond a row's end is multiplied by nothing, and that must be a number.
        self.keys = [_zeros(total, s.heads, s.key_width, dtype=dtype, device=device) for s in layers]
        self.values = [_zeros(total, s.heads, s.value_width, dtype=dtype, device=device) for s in layers]

    @property
    def size_bytes(self) -> int:
        """Memory set aside."""
        return self.spans.total * self._per_token

    @property
    def used_bytes(self) -> int:
        """Memory that rows occupy."""
        return self.spans.used * self._per_token

    def tensors(self) -> list[Tensor]:
        """Every arena, [positions, heads, width]."""
        return [*self.keys, *self.values]

    def clear(self, span: Span) -> None:
        """Put zeros where there may be what is no number."""
        for arena in self.tensors():
            arena[span.positions(0, span.capacity)] = 0

    def grow(self, span: Span, length: int, computed: int) -> Span | None:
        """Move a row's ``computed`` positions into a span of at least ``length``; None, and no change, where there is none."""
        if length <= span.capacity:
            return span
        larger = self.spans.take(length)
        if larger is None:
            return None
        for arena in self.tensors():
            arena[larger.positions(0, computed)] = arena[span.positions(0, computed)]
        self.spans.give_back(span)
        return larger


def _zeros(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that, on a processor, take memory page by page when they are first written."""
    if device.type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    # torch.zeros writes them. The mapping lives as long as the tensor; malloc has no say in the size of its pages.
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def token_bytes(layers: Sequence[LayerShape], dtype: torch.dtype) -> int:
    """Bytes that one position takes in all layers."""
    return sum(layer.width for layer in layers) * dtype.itemsize


def size_class(length: int) -> int:
    """The smallest of 32, 48, 64, 96, 128, 192 … that is not below a length: at most half more than is asked for."""
    power = max(SMALLEST, 1 << (length - 1).bit_length())
    between = power * 3 // 4
    return between if between > SMALLEST and length <= between else power


def slab_size(tokens: int) -> int:
    """Three times a power of two, which all classes but the last divide: so rows of a class lie at one distance across slabs, too."""
    wanted = min(LARGEST_SLAB, tokens // SLABS)
    return 3 << ((wanted // 3).bit_length() - 1) if wanted >= SMALLEST * 3 // 2 else SMALLEST
