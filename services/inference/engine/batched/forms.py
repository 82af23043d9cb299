"""Adapters as the batched engine keeps them: everything that changes a linear layer, laid out so that many compute together.

In host memory an adapter is one flat tensor. In slots, the matrices of all adapters for a module lie one behind the other, which is
what a batched product reads fastest; taking an adapter into a slot is a copy for each of them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

from services.inference.engine.changes import Change, LinearChange
from services.inference.engine.native.kernels import AdaptedPart, AdapterTable

SMALLEST_RANK: Final = 8


@dataclass(frozen=True, slots=True)
class ModuleGroup:
    """Linear modules that read the same inputs and are computed in one product.

    Attributes:
        names: dotted, in the order of their outputs; most groups have one.
        inputs: features that they take in.
        outputs: features that each gives out.
    """

    names: tuple[str, ...]
    inputs: int
    outputs: tuple[int, ...]

    @property
    def key(self) -> str:
        """The group's name."""
        return self.names[0]

    @property
    def columns(self) -> dict[str, slice]:
        """Where the outputs of each module are among those of the group."""
        ends = list(accumulate(self.outputs))
        return {name: slice(end - size, end) for name, size, end in zip(self.names, self.outputs, ends, strict=True)}


@dataclass(frozen=True, slots=True)
class StackPart:
    """What the adapters in slots do to one module of a group: ``y <- gain ∘ y + shift + B low`` for each slot.

    Attributes:
        low: which numbers of the group's ``A x`` are this module's.
        out: which of the group's outputs are.
        b: [slots, rank, out], scaled.
        gain: [slots, out], or None where it is 1.
        shift: [slots, out], or None where it is 0.
    """

    low: slice
    out: slice
    b: Tensor
    gain: Tensor | None
    shift: Tensor | None

    def window(self, slots: slice) -> "StackPart":
        """What a range of slots does."""
        gain = None if self.gain is None else self.gain[slots]
        shift = None if self.shift is None else self.shift[slots]
        return StackPart(self.low, self.out, self.b[slots], gain, shift)


@dataclass(frozen=True)
class Stack:
    """What the adapters in slots do to a group of modules.

    Attributes:
        a: [slots, rank of all parts together, in].
        parts: of the modules that they change.
    """

    a: Tensor
    parts: tuple[StackPart, ...]

    def window(self, slots: slice) -> "Stack":
        """What a range of slots does."""
        return Stack(self.a[slots], tuple(part.window(slots) for part in self.parts))

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, each with a place for every slot."""
        return [self.a, *(t for part in self.parts for t in (part.b, part.gain, part.shift) if t is not None)]

    @cached_property
    def table(self) -> AdapterTable:
        """The same for the kernels."""
        return AdapterTable(
            self.a, [AdaptedPart(part.low.start, part.out.start, part.b, part.gain, part.shift) for part in self.parts]
        )

    @property
    def scaled(self) -> bool:
        """Whether more is done than added."""
        return any(part.gain is not None for part in self.parts)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the matrices of each module lie in an adapter's flat tensor.

    Attributes:
        rank: columns of every A; adapters of a lower rank have zeros there.
        groups: the modules it has room for are in these.
        modules: those it has room for; at least one of each group.
        scaled: whether it has room for gains and shifts (DoRA, biases).
    """

    rank: int
    groups: tuple[ModuleGroup, ...]
    modules: frozenset[str]
    scaled: bool

    @property
    def length(self) -> int:
        """Numbers of a flat tensor."""
        return sum(math.prod(shape) for shape in self._shapes)

    def holds(self, form: "AdapterForm") -> bool:
        """Whether an adapter fits in."""
        return form.rank <= self.rank and form.modules <= self.modules and (self.scaled or not form.scaled)

    def flatten(self, form: "AdapterForm") -> Tensor:
        """An adapter's flat tensor."""
        flat = torch.zeros(self.length, dtype=torch.float32)
        stacks = self.stacks(flat)
        for group in self.groups:
            stack = stacks[group.key]
            for name, part in zip(self._members(group), stack.parts, strict=True):
                if part.gain is not None:
                    part.gain.fill_(1)
                if name in form.changes:
                    _write(form.changes[name], stack.a[0, part.low], part)
        return flat

    def stacks(self, flat: Tensor) -> dict[str, Stack]:
        """A flat tensor as the stacks of its only slot, by key of the group."""
        ends = list(accumulate(math.prod(shape) for shape in self._shapes))
        views = (
            flat[end - math.prod(shape) : end].view(1, *shape) for shape, end in zip(self._shapes, ends, strict=True)
        )
        return self._stacks(views)

    def empty_stacks(self, slots: int, device: torch.device) -> dict[str, Stack]:
        """Stacks of so many slots, by key of the group; what is in them is undefined."""
        shapes = ((slots, *shape) for shape in self._shapes)
        return self._stacks(torch.empty(shape, dtype=torch.float32, device=device) for shape in shapes)

    @cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Of each tensor of an adapter, in their order."""
        shapes: list[tuple[int, ...]] = []
        for group in self.groups:
            members = self._members(group)
            shapes.append((self.rank * len(members), group.inputs))
            for columns in members.values():
                outputs = columns.stop - columns.start
                shapes += [(self.rank, outputs), *([(outputs,), (outputs,)] if self.scaled else [])]
        return shapes

    def _members(self, group: ModuleGroup) -> dict[str, slice]:
        """The modules of a group that there is room for, and their columns."""
        return {name: columns for name, columns in group.columns.items() if name in self.modules}

    def _stacks(self, tensors: Iterable[Tensor]) -> dict[str, Stack]:
        tensors, rank = iter(tensors), self.rank
        stacks = {}
        for group in self.groups:
            a, parts = next(tensors), []
            for index, columns in enumerate(self._members(group).values()):
                b = next(tensors)
                gain, shift = (next(tensors), next(tensors)) if self.scaled else (None, None)
                parts.append(StackPart(slice(index * rank, (index + 1) * rank), columns, b, gain, shift))
            stacks[group.key] = Stack(a, tuple(parts))
        return stacks


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

    def __init__(self, groups: Sequence[ModuleGroup]) -> None:
        """Begin without any.

        Args:
            groups: every linear module that adapters may change.
        """
        self._groups = groups
        self._all = frozenset(name for group in groups for name in group.names)
        self._layouts: list[Layout] = []

    def choose(self, form: AdapterForm) -> Layout:
        """The layout for an adapter, made if need be; it lasts as long as the engine."""
        own = self._layout(form.rank, form.modules, scaled=form.scaled)
        fitting = [layout for layout in self._layouts if layout.rank == form.rank and layout.holds(form)]
        best = min(fitting, key=lambda layout: layout.length, default=None)
        if best is not None and (best.length <= 2 * own.length or self._is_general(best)):
            return best
        alike = sum(layout.rank == form.rank for layout in self._layouts)
        layout = own if alike < self.MOST else self._layout(form.rank, self._all, scaled=True)
        self._layouts.append(layout)
        return layout

    def _layout(self, rank: int, modules: frozenset[str], *, scaled: bool) -> Layout:
        groups = tuple(group for group in self._groups if modules.intersection(group.names))
        return Layout(rank, groups, modules, scaled)

    def _is_general(self, layout: Layout) -> bool:
        return layout.scaled and layout.modules == self._all


def _write(change: LinearChange, a: Tensor, part: StackPart) -> None:
    """One adapter into the views of its flat tensor. DoRA multiplies what the base gives but for its bias."""
    rank, gain = len(change.a), change.gain
    a[:rank] = change.a
    b = change.b * change.scaling
    part.b[0, :rank] = (b if gain is None else b * gain.unsqueeze(1)).T
    if part.gain is None or part.shift is None:
        return
    if gain is not None:
        part.gain[0] = gain
        if change.base_bias is not None:
            part.shift[0] = (1 - gain) * change.base_bias
    if change.bias is not None:
        part.shift[0] += (change.bias * change.scaling).to(part.shift.device)
