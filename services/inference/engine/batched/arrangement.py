"""How the tokens of a step meet their adapters: made once for a step, used by every module.

Tokens of a step are ordered so that those of one adapter lie together. Those that are generated come first: they are arranged as
a grid of slots by tokens, and one batched product serves them all. What belongs to prompts follows in segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from services.inference.engine.batched.forms import Stack
from services.inference.engine.changes import Change, Forward

GROUPED_FROM = 5
"""From so many segments on, one call over a list of them is cheaper than a call for each."""


Stacks = Mapping[str, Stack]
"""What the adapters in slots do to modules, by module."""


class Arrangement(Protocol):
    """Tokens and the slots that they use."""

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """Add to a module's outputs ``y`` [tokens, out] what adapters make of its inputs ``x`` [tokens, in]."""


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
        a, b = stack.a[self.slots], stack.b[self.slots]
        xs, ys = x[self.tokens].view(len(a), self.each, -1), y[self.tokens].view(len(a), self.each, -1)
        _scale(stack, ys, self.slots)
        torch.baddbmm(ys, torch.bmm(xs, a), b, out=ys)


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
        a, b = stack.a[self.slots], stack.b[self.slots]
        xs = x.index_select(0, self.source).view(len(a), self.each, -1)
        change = torch.bmm(torch.bmm(xs, a), b).view(len(self.source), -1).index_select(0, self.target)
        if stack.gain is not None and stack.shift is not None:
            slot_of = torch.div(self.target, self.each, rounding_mode="floor") + self.slots.start
            y[self.tokens] = y[self.tokens] * stack.gain[slot_of] + stack.shift[slot_of]
        y[self.tokens] += change


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of one slot."""

    tokens: slice
    slot: int

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        ys = y[self.tokens]
        if stack.gain is not None and stack.shift is not None:
            ys.mul_(stack.gain[self.slot]).add_(stack.shift[self.slot])
        torch.addmm(ys, x[self.tokens] @ stack.a[self.slot], stack.b[self.slot], out=ys)


@dataclass(frozen=True, slots=True)
class Segments:
    """Many segments of a range of slots, in their order.

    Attributes:
        tokens: of all of them.
        slots: the range.
        ends: int32 [slots], where the tokens of each slot end, counted from the first.
    """

    tokens: slice
    slots: slice
    ends: Tensor

    def apply(self, stack: Stack, x: Tensor, y: Tensor) -> None:
        """See ``Arrangement``."""
        a, b = stack.a[self.slots], stack.b[self.slots]
        ys = y[self.tokens]
        if stack.gain is not None and stack.shift is not None:
            counts = torch.diff(self.ends, prepend=self.ends.new_zeros(1)).long()
            ys.mul_(stack.gain[self.slots].repeat_interleave(counts, 0))
            ys.add_(stack.shift[self.slots].repeat_interleave(counts, 0))
        low = torch.nn.functional.grouped_mm(x[self.tokens], a, offs=self.ends)
        ys += torch.nn.functional.grouped_mm(low, b, offs=self.ends)


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
        parts: by stacks of slots.
        others: by module.
    """

    count: int
    parts: Sequence[tuple[Stacks, Sequence[Arrangement]]]
    others: Mapping[str, Sequence[OtherChange]]

    def apply(self, name: str, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """Turn a module's outputs, for inputs ``x`` [..., in], into those with adapters, in place."""
        rows, outputs = x.reshape(self.count, -1), y.view(self.count, -1)
        found = [(stacks[name], arrangements) for stacks, arrangements in self.parts if name in stacks]
        if found:
            # Adapters compute in single precision, as PEFT's do; rounded once, at the end.
            single, sums = rows.float(), outputs.float()
            for stack, arrangements in found:
                for arrangement in arrangements:
                    arrangement.apply(stack, single, sums)
            if sums is not outputs:
                outputs.copy_(sums)
        for other in self.others.get(name, ()):
            other.apply(forward, rows, outputs)
        return y


def arrange(
    decoding: Sequence[int], prompts: Sequence[tuple[int, int]], begin: int, device: torch.device
) -> list[Arrangement]:
    """Arrange tokens of one bank's adapters, which lie together from ``begin`` on.

    Args:
        decoding: the slot of each token that is generated, in order.
        prompts: slot and number of tokens of each piece of a prompt, in order; they follow.
        begin: the first token.
        device: where the tokens are.
    """
    arrangements: list[Arrangement] = []
    if decoding:
        arrangements.append(_grid(decoding, begin, device))
    return arrangements + _segments(prompts, begin + len(decoding), device)


def _grid(slots: Sequence[int], begin: int, device: torch.device) -> Arrangement:
    first, last = slots[0], slots[-1]
    counts = [0] * (last - first + 1)
    for slot in slots:
        counts[slot - first] += 1
    each = max(counts)
    tokens, taken = slice(begin, begin + len(slots)), slice(first, last + 1)
    if min(counts) == each:
        return Grid(tokens, taken, each)
    if each > 1 and len(counts) * each > 2 * (len(slots) + len(counts)):
        # One adapter has most of the tokens: a grid would be nearly empty.
        return Segments(tokens, taken, torch.tensor(counts, device=device).cumsum(0, dtype=torch.int32))
    source, target, token = [begin] * (len(counts) * each), [], begin
    for index, count in enumerate(counts):
        for place in range(index * each, index * each + count):
            source[place] = token
            target.append(place)
            token += 1
    return PaddedGrid(tokens, taken, each, torch.tensor(source, device=device), torch.tensor(target, device=device))


def _segments(pieces: Sequence[tuple[int, int]], begin: int, device: torch.device) -> list[Arrangement]:
    if not pieces:
        return []
    counts: dict[int, int] = {}
    for slot, count in pieces:
        counts[slot] = counts.get(slot, 0) + count
    if len(counts) < GROUPED_FROM:
        found: list[Arrangement] = []
        for slot, count in counts.items():
            found.append(Segment(slice(begin, begin + count), slot))
            begin += count
        return found
    first, last = pieces[0][0], pieces[-1][0]
    tokens = [counts.get(slot, 0) for slot in range(first, last + 1)]
    ends = torch.tensor(tokens, device=device).cumsum(0, dtype=torch.int32)
    return [Segments(slice(begin, begin + sum(tokens)), slice(first, last + 1), ends)]


def _scale(stack: Stack, ys: Tensor, slots: slice) -> None:
    if stack.gain is not None and stack.shift is not None:
        ys.mul_(stack.gain[slots].unsqueeze(1)).add_(stack.shift[slots].unsqueeze(1))
