"""What an adapter is, once its header has been held against its configuration and its base."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from services.common.identity import TensorEntry

__all__ = ["BLOCK_BYTES", "AdapterPlan", "ByteRanges", "PlannedCopy", "PlannedLayer", "PlannedReplacement"]

BLOCK_BYTES: Final = 1024 * 1024
"""Bytes of a file that are looked at together."""


class ByteRanges(Protocol):
    """A file's bytes, given out by ranges: ``bytes``, a ``memoryview``, an ``mmap``, an open file."""

    def __getitem__(self, part: slice, /) -> bytes | memoryview:
        """The bytes of a range."""


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """LoRA on one module: ``scaling · B · A`` is added to its weight.

    Attributes:
        module: as the base names it.
        kind: of the module: Linear, Conv1D or Embedding.
        a: [rank, in]; of an embedding [rank, rows].
        b: [out, rank]; of an embedding [width, rank].
        scaling: factor of the product.
        magnitude: DoRA's lengths of the rows of the weight as [out, in]: [out]; None without DoRA.
        bias: of lora_B: [out]; None without lora_bias.
    """

    module: str
    kind: str
    a: TensorEntry
    b: TensorEntry
    scaling: float
    magnitude: TensorEntry | None = None
    bias: TensorEntry | None = None

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """Its tensors."""
        return tuple(entry for entry in (self.a, self.b, self.magnitude, self.bias) if entry is not None)


@dataclass(frozen=True, slots=True)
class PlannedReplacement:
    """A module that the adapter brings in the base's place (modules_to_save).

    Where the base ties two matrices, only the one that is named is replaced, as PEFT does it.

    Attributes:
        module: as the base names it.
        kind: Linear, Conv1D or Embedding.
        weight: of the shape that the base's has: Linear [out, in], Conv1D [in, out], Embedding [rows, width].
        bias: [out], where the base's module has one.
    """

    module: str
    kind: str
    weight: TensorEntry
    bias: TensorEntry | None = None

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """Its tensors."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """The base's own embedding or output matrix, which PEFT saves beside LoRA on it.

    It is passed over when it equals the base's; ``check_values`` sees to that.
    """

    module: str
    weight: TensorEntry


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """Every tensor of an adapter and what it is for, by module name."""

    layers: tuple[PlannedLayer, ...]
    replacements: tuple[PlannedReplacement, ...] = ()
    copies: tuple[PlannedCopy, ...] = ()

    @property
    def applied(self) -> Iterator[TensorEntry]:
        """Tensors that change the computation."""
        for layer in self.layers:
            yield from layer.entries
        for replacement in self.replacements:
            yield from replacement.entries

    @property
    def tensor_count(self) -> int:
        """Tensors that must be applied for the load to be complete; copies of the base's own are none."""
        return sum(1 for _ in self.applied)
