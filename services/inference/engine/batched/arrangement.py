"""How the tokens of a step meet their adapters: made once for a step, used by every module.

Tokens of a step are ordered so that those of one adapter lie together: first those that are generated, then those of prompts. Where
adapters have about as many tokens each, they are arranged as a grid of slots by tokens, and one batched product serves them all;
else segment follows segment.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from services.inference.engine.batched.forms import Stack
from services.inference.engine.changes import Change, Forward
from services.inference.engine.native.kernels import Kernels

EMPTIEST: Final = 2
"""A grid may have so many times as many places as there are tokens and slots."""

Stacks = Mapping[str, Stack]
"""What the adapters in slots do to groups of modules, by their keys."""


class Arrangement(Protocol):
    """Tokens and the slots that they use.

    Attributes:
        slots: the range of slots whose stacks it is applied with.
    """

    @property
    def slots(self) -> slice: ...

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """Add to a group's outputs ``y`` [tokens, out] what adapters make of its inputs ``x`` [tokens, in]."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The same number of neighbouring tokens for each of a range of slots.

    Attributes:
        tokens: which ones.
        slots: which ones, in the order of their tokens.
        each: tokens of a slot.
    """

    tokens: slice
    slots: slice
    each: int

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        shape = (len(stack.a), self.each, -1)
        first, count = self.tokens.start, self.tokens.stop - self.tokens.start
        low = torch.bmm(stack.a, x.narrow(0, first, count).view(shape).transpose(1, 2)).transpose(1, 2)
        for part in stack.parts:
            # Steps of few rows feel every microsecond here: narrow is faster than an index that says the same.
            ys = y.narrow(0, first, count).narrow(1, part.out.start, part.out.stop - part.out.start).view(shape)
            if part.gain is not None and part.shift is not None:
                ys.mul_(part.gain.unsqueeze(1)).add_(part.shift.unsqueeze(1))
            own = low.narrow(2, part.low.start, part.low.stop - part.low.start)
            if ys.is_contiguous():
                torch.baddbmm(ys, own, part.b, out=ys)
            else:  # a product into every so many columns is several times slower than one that is added
                ys += torch.bmm(own, part.b)


@dataclass(frozen=True, slots=True)
class PaddedGrid:
    """Tokens that are not evenly spread over a range of slots.

    Attributes:
        tokens: which ones.
        slots: a range that holds theirs.
        each: most tokens of a slot.
        source: [slots * each] the token at each place of the grid; any token where there is none.
        target: [tokens] the place in the grid of each token.
    """

    tokens: slice
    slots: slice
    each: int
    source: Tensor
    target: Tensor

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        xs = x.index_select(0, self.source).view(len(stack.a), self.each, -1)
        low = torch.bmm(stack.a, xs.transpose(1, 2)).transpose(1, 2)
        for part in stack.parts:
            change = torch.bmm(low[..., part.low], part.b).view(len(self.source), -1)
            ys = y[self.tokens, part.out]
            if part.gain is not None and part.shift is not None:
                slot_of = torch.div(self.target, self.each, rounding_mode="floor")
                ys.mul_(part.gain[slot_of]).add_(part.shift[slot_of])
            ys += change.index_select(0, self.target)


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of one slot."""

    tokens: slice
    slot: int

    @property
    def slots(self) -> slice:
        """See ``Arrangement``."""
        return slice(self.slot, self.slot + 1)

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        low = x[self.tokens] @ stack.a[0].T
        for part in stack.parts:
            ys = y[self.tokens, part.out]
            if part.gain is not None and part.shift is not None:
                ys.mul_(part.gain[0]).add_(part.shift[0])
            torch.addmm(ys, low[:, part.low], part.b[0], out=ys)


@dataclass(frozen=True, slots=True)
class Listed:
    """Each token with its slot, for a kernel that takes them however they are spread.

    Attributes:
        tokens: which ones.
        slots: a range that holds theirs.
        slot_of: int32 [tokens] from the first of the range.
        kernels: that compute.
    """

    tokens: slice
    slots: slice
    slot_of: Tensor
    kernels: Kernels

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        self.kernels.adapt(stack.table, self.slot_of, x[self.tokens].contiguous(), y[self.tokens])


@dataclass(frozen=True, slots=True)
class Gathered:
    """Each token with its slot: the same operations whatever the slots, at the cost of a copy of their adapters.

    Attributes:
        slots: all of a bank.
        slot_of: [tokens], or -1 for one whose adapter is in none of them.
    """

    slots: slice
    slot_of: Tensor

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        # Slots that were never written may hold what is no number: it is chosen against, not multiplied by nothing.
        used, slot = (self.slot_of >= 0).unsqueeze(1), self.slot_of.clamp(min=0)
        low = torch.bmm(stack.a.index_select(0, slot), x.unsqueeze(2)).transpose(1, 2)
        for part in stack.parts:
            ys = y[:, part.out]
            changed = torch.bmm(low[..., part.low], part.b.index_select(0, slot)).squeeze(1)
            if part.gain is not None and part.shift is not None:
                changed += ys * part.gain.index_select(0, slot) + part.shift.index_select(0, slot)
            else:
                changed += ys
            ys.copy_(torch.where(used, changed, ys))


@dataclass(frozen=True, slots=True)
class OtherChange:
    """What one adapter makes of a module that is no LoRA on a linear one: an embedding, a matrix of its own."""

    tokens: Tensor
    change: Change

    def apply(self, forward: Forward, x: Tensor, y: Tensor) -> None:
        """Put the adapter's outputs in the place of the base's, for its tokens."""
        y[self.tokens] = self.change(forward, x[self.tokens]).view(len(self.tokens), -1)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a module sees, and what adapters do to them.

    Attributes:
        count: how many.
        parts: stacks of a range of slots, and the tokens that use these.
        others: by module.
    """

    count: int
    parts: Sequence[tuple[Stacks, Arrangement]]
    others: Mapping[str, Sequence[OtherChange]]

    def add(self, key: str, x: Tensor, y: Tensor) -> None:
        """Turn the outputs of a group of linear modules into those with adapters, in place.

        Args:
            key: of the group.
            x: [..., in].
            y: [..., out] of all modules of the group.
        """
        found = [(stacks[key], arrangement) for stacks, arrangement in self.parts if key in stacks]
        if not found:
            return
        if x.dim() > 2:
            x, y = x.reshape(self.count, -1), y.view(self.count, -1)
        # Adapters compute in single precision, as PEFT's do; rounded once, at the end.
        single, sums = x.float(), y.float()
        for stack, arrangement in found:
            arrangement.apply(stack, single, sums)
        if sums is not y:
            y.copy_(sums)

    def replace(self, name: str, forward: Forward, x: Tensor, y: Tensor) -> None:
        """Put what other adapters make of ``x`` [..., in] in the place of a module's outputs ``y`` [..., out]."""
        for other in self.others.get(name, ()):
            other.apply(forward, x.reshape(self.count, -1), y.view(self.count, -1))

    def concern(self, key: str, names: Iterable[str]) -> bool:
        """Whether the outputs of a group's modules are changed at all."""
        return any(key in stacks for stacks, _ in self.parts) or not self.others.keys().isdisjoint(names)

    def adds_only(self, key: str, names: Iterable[str]) -> bool:
        """Whether the outputs of a group's modules are added to, and neither scaled nor replaced."""
        scaled = any(key in stacks and stacks[key].scaled for stacks, _ in self.parts)
        return not scaled and self.others.keys().isdisjoint(names)


def arrange(
    pieces: Sequence[tuple[int, int]], begin: int, device: torch.device, kernels: Kernels | None = None
) -> list[Arrangement]:
    """Arrange tokens of one bank's adapters, which lie together.

    Args:
        pieces: slot and number of tokens of neighbouring pieces, slots increasing.
        begin: the first token.
        device: where the tokens are.
        kernels: to compute with, or None.
    """
    counts: Counter[int] = Counter()
    for slot, count in pieces:
        counts[slot] += count
    first, last = pieces[0][0], pieces[-1][0]
    spread = [counts[slot] for slot in range(first, last + 1)]
    each, total = max(spread), sum(spread)
    tokens, slots = slice(begin, begin + total), slice(first, last + 1)
    if kernels is not None:
        slot_of = [slot - first for slot, count in counts.items() for _ in range(count)]
        return [Listed(tokens, slots, torch.tensor(slot_of, dtype=torch.int32), kernels)]
    if len(counts) == 1:
        return [Segment(tokens, first)]
    if min(spread) == each:
        return [Grid(tokens, slots, each)]
    if each > 1 and len(spread) * each > EMPTIEST * (total + len(spread)):
        return list(_segments(counts, begin))
    source, target = _places(spread, each, begin)
    return [PaddedGrid(tokens, slots, each, torch.tensor(source, device=device), torch.tensor(target, device=device))]


def _segments(counts: Mapping[int, int], begin: int) -> Iterable[Segment]:
    for slot, count in counts.items():
        yield Segment(slice(begin, begin + count), slot)
        begin += count


def _places(spread: Sequence[int], each: int, begin: int) -> tuple[list[int], list[int]]:
    """The token at each place of a grid, and the place of each token."""
    source, target, token = [begin] * (len(spread) * each), [], begin
    for index, count in enumerate(spread):
        for place in range(index * each, index * each + count):
            source[place] = token
            target.append(place)
            token += 1
    return source, target
