"""Adapters as the batched engine keeps them: everything that changes a linear layer in one flat tensor.

All adapters of a layout have the same length, so that taking one into a slot is one copy, and the slots of a layout together
are a stack of matrices for each module, ready to be multiplied in one call.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from services.inference.engine.changes import Change, LinearChange

SMALLEST_RANK: Final = 8


@dataclass(frozen=True, slots=True)
class ModuleSize:
    """Features that a linear module takes in and gives out."""

    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Stack:
    """What the adapters in slots do to one module: ``y <- gain ∘ y + shift + (x A) B`` for each slot.

    Attributes:
        a: [slots, in, rank].
        b: [slots, rank, out], scaled.
        gain: [slots, out], or None where it is 1.
        shift: [slots, out], or None where it is 0.
    """

    a: Tensor
    b: Tensor
    gain: Tensor | None
    shift: Tensor | None


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the matrices of each module lie in an adapter's flat tensor.

    Attributes:
        rank: columns of every A; adapters of a lower rank have zeros there.
        modules: those it has room for.
        scaled: whether it has room for gains and shifts (DoRA, biases).
    """

    rank: int
    modules: Mapping[str, ModuleSize]
    scaled: bool

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Where each module begins."""
        offsets, end = {}, 0
        for name, size in self.modules.items():
            offsets[name] = end
            end += self._length(size)
        return offsets

    @cached_property
    def length(self) -> int:
        """Numbers of a flat tensor."""
        return sum(self._length(size) for size in self.modules.values())

    def holds(self, form: "AdapterForm") -> bool:
        """Whether an adapter fits in."""
        return form.rank <= self.rank and form.modules <= self.modules.keys() and (self.scaled or not form.scaled)

    def flatten(self, form: "AdapterForm") -> Tensor:
        """An adapter's flat tensor."""
        flat = torch.zeros(self.length, dtype=torch.float32)
        stacks = self.stacks(flat.unsqueeze(0))
        for name, stack in stacks.items():
            change = form.changes.get(name)
            if stack.gain is not None:
                stack.gain.fill_(1)
            if change is not None:
                _write(change, stack)
        return flat

    def stacks(self, slots: Tensor) -> dict[str, Stack]:
        """Views of flat tensors [slots, length], by module."""
        return {name: self._stack(slots[:, self.offsets[name] :], size) for name, size in self.modules.items()}

    def _length(self, size: ModuleSize) -> int:
        return self.rank * (size.inputs + size.outputs) + (2 * size.outputs if self.scaled else 0)

    def _stack(self, slots: Tensor, size: ModuleSize) -> Stack:
        count, of_a, of_b = len(slots), size.inputs * self.rank, self.rank * size.outputs
        rest = slots[:, of_a + of_b :]
        return Stack(
            slots[:, :of_a].view(count, size.inputs, self.rank),
            slots[:, of_a : of_a + of_b].view(count, self.rank, size.outputs),
            rest[:, : size.outputs] if self.scaled else None,
            rest[:, size.outputs : 2 * size.outputs] if self.scaled else None,
        )


@dataclass(frozen=True, slots=True)
class AdapterForm:
    """What an adapter does, module by module.

    Attributes:
        changes: of linear modules.
        others: of embeddings, and matrices that are replaced.
    """

    changes: Mapping[str, LinearChange]
    others: Mapping[str, Change]

    @property
    def modules(self) -> frozenset[str]:
        """Linear modules that it changes."""
        return frozenset(self.changes)

    @property
    def rank(self) -> int:
        """Its highest, rounded up to a power of two so that adapters share layouts."""
        highest = max((len(change.a) for change in self.changes.values()), default=1)
        return max(SMALLEST_RANK, 1 << (highest - 1).bit_length())

    @property
    def scaled(self) -> bool:
        """Whether it has a gain or a bias anywhere."""
        return any(change.gain is not None or change.bias is not None for change in self.changes.values())


class Layouts:
    """Few layouts for many adapters: work for each module grows with their number."""

    MOST: Final = 4
    """Layouts of a rank that are made to measure; after them comes one for all modules."""

    def __init__(self, modules: Mapping[str, ModuleSize]) -> None:
        """Begin without any.

        Args:
            modules: every linear module that adapters may change.
        """
        self._modules = modules
        self._layouts: list[Layout] = []

    def choose(self, form: AdapterForm) -> Layout:
        """The layout for an adapter, made if need be; it lasts as long as the engine."""
        own = self._layout(form.rank, form.modules, scaled=form.scaled)
        fitting = [layout for layout in self._layouts if layout.rank == form.rank and layout.holds(form)]
        best = min(fitting, key=lambda layout: layout.length, default=None)
        if best is not None and (best.length <= 2 * own.length or self._is_general(best)):
            return best
        alike = sum(layout.rank == form.rank for layout in self._layouts)
        layout = own if alike < self.MOST else self._layout(form.rank, self._modules.keys(), scaled=True)
        self._layouts.append(layout)
        return layout

    def _layout(self, rank: int, modules: Collection[str], *, scaled: bool) -> Layout:
        return Layout(rank, {name: size for name, size in self._modules.items() if name in modules}, scaled)

    def _is_general(self, layout: Layout) -> bool:
        return layout.scaled and len(layout.modules) == len(self._modules)


def _write(change: LinearChange, stack: Stack) -> None:
    """One adapter into the views of its flat tensor. DoRA multiplies what the base gives but for its bias."""
    rank, gain = len(change.a), change.gain
    stack.a[0, :, :rank] = change.a.T
    b = change.b * change.scaling
    stack.b[0, :rank] = (b if gain is None else b * gain.unsqueeze(1)).T
    if stack.gain is None or stack.shift is None:
        return
    if gain is not None:
        stack.gain[0] = gain
        if change.base_bias is not None:
            stack.shift[0] = (1 - gain) * change.base_bias
    if change.bias is not None:
        stack.shift[0] += change.bias * change.scaling
