"""Adapters in slots: beside each other in memory, where all rows of a step reach theirs in one call for each module.

Slots whose adapters are in use are kept together at the beginning, so that a step computes with one range of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from services.inference.engine.batched.forms import Layout, Stack

WINDOWS: Final = 256
"""Ranges of slots that a bank remembers; each is some views of its tensors."""


@dataclass(eq=False, slots=True)
class HostAdapter:
    """An attached adapter, as it waits for a slot.

    Attributes:
        digest: its name.
        layout: of its flat tensor.
        flat: [length].
    """

    digest: str
    layout: Layout
    flat: Tensor


class Bank:
    """Slots of one layout. Belongs to the engine's thread."""

    def __init__(self, layout: Layout, *, device: torch.device) -> None:
        """Begin with room for one."""
        self._layout = layout
        self._device = device
        self._stacks: Mapping[str, Stack] = layout.empty_stacks(1, device)
        self._windows: dict[tuple[int, int], Mapping[str, Stack]] = {}
        self._holders: list[str | None] = [None]
        self._slots: dict[str, int] = {}
        self._users: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Slots there are; while it stays, so does their memory."""
        return len(self._holders)

    @property
    def residents(self) -> int:
        """Adapters in slots, in use or not."""
        return len(self._slots)

    def slot(self, digest: str) -> int:
        """Where a resident adapter is."""
        return self._slots[digest]

    def window(self, slots: slice) -> Mapping[str, Stack]:
        """What a range of slots does to each group of modules; kept, for most steps compute with the same as the last."""
        key = (slots.start, slots.stop)
        if key not in self._windows:
            if len(self._windows) >= WINDOWS:
                self._windows.clear()
            self._windows[key] = {name: stack.window(slots) for name, stack in self._stacks.items()}
        return self._windows[key]

    def has(self, digest: str) -> bool:
        """Whether an adapter is in a slot."""
        return digest in self._slots

    def used(self, digest: str) -> bool:
        """Whether rows use an adapter."""
        return digest in self._users

    def pin(self, adapter: HostAdapter, *, limit: int) -> None:
        """Take an adapter into a slot, if it is in none, and keep it there until it is unpinned as often.

        Args:
            adapter: of this bank's layout.
            limit: slots that the bank may have; more than it has residents.
        """
        if adapter.digest in self._users:
            self._users[adapter.digest] += 1
            return
        # One that is in a slot stays there: ``gather`` moves them if they have become scattered.
        if adapter.digest not in self._slots:
            hole = self._hole(limit)
            self._vacate(hole, limit)
            self._write(hole, adapter)
            self._put(hole, adapter.digest)
        self._users[adapter.digest] = 1

    def unpin(self, digest: str) -> None:
        """Let go of an adapter; it stays until its slot is wanted."""
        self._users[digest] -= 1
        if not self._users[digest]:
            del self._users[digest]

    def evict(self, digest: str) -> None:
        """Forget an adapter that nobody uses."""
        self._put(self._slots.pop(digest), None)

    def gather(self) -> None:
        """Move adapters in use together where they have become scattered."""
        pinned = [slot for slot, holder in enumerate(self._holders) if holder in self._users]
        if not pinned or 2 * len(pinned) > pinned[-1] + 1:
            return
        for to, slot in enumerate(pinned):
            self._swap(slot, to)

    def _write(self, slot: int, adapter: HostAdapter) -> None:
        for to, source in zip(_tensors(self._stacks), _tensors(adapter.layout.stacks(adapter.flat)), strict=True):
            to[slot].copy_(source[0])

    def _hole(self, limit: int) -> int:
        """The first slot that nobody uses; one more is made if all are used."""
        for slot, holder in enumerate(self._holders):
            if holder not in self._users:
                return slot
        self._extend(limit)
        return self._hole(limit)

    def _vacate(self, hole: int, limit: int) -> None:
        """Empty a slot: its adapter moves to a free one; there is one, or may be."""
        if self._holders[hole] is None:
            return
        if None not in self._holders:
            self._extend(limit)
        self._swap(hole, self._holders.index(None))

    def _extend(self, limit: int) -> None:
        count = min(2 * len(self._holders), limit)
        larger = self._layout.empty_stacks(count, self._device)
        for to, source in zip(_tensors(larger), _tensors(self._stacks), strict=True):
            to[: len(self._holders)] = source
        self._stacks, self._windows = larger, {}
        self._holders += [None] * (count - len(self._holders))

    def _swap(self, one: int, other: int) -> None:
        if one == other:
            return
        tensors = list(_tensors(self._stacks))
        # All copies first: where memory is short nothing has been moved.
        moved = [tensor[other].clone() for tensor in tensors] if self._holders[other] is not None else []
        for tensor in tensors:
            tensor[other] = tensor[one]
        for tensor, rows in zip(tensors[: len(moved)], moved, strict=True):
            tensor[one] = rows
        first, second = self._holders[one], self._holders[other]
        self._put(one, second)
        self._put(other, first)

    def _put(self, slot: int, holder: str | None) -> None:
        self._holders[slot] = holder
        if holder is not None:
            self._slots[holder] = slot


def _tensors(stacks: Mapping[str, Stack]) -> Iterator[Tensor]:
    """Every tensor of some stacks, in the order of their layout."""
    return (tensor for stack in stacks.values() for tensor in stack.tensors)


class Slots:
    """All banks, with one bound on the adapters in them. Belongs to the engine's thread."""

    def __init__(self, *, count: int, device: torch.device) -> None:
        """Begin without any.

        Args:
            count: most adapters in slots.
            device: where they lie.
        """
        self._count = count
        self._device = device
        self._banks: dict[Layout, Bank] = {}
        self._order: dict[str, Bank] = {}

    def bank(self, layout: Layout) -> Bank:
        """The bank of a layout."""
        if layout not in self._banks:
            self._banks[layout] = Bank(layout, device=self._device)
        return self._banks[layout]

    def has(self, digest: str) -> bool:
        """Whether an adapter is in a slot."""
        return digest in self._order

    def seats(self, digest: str) -> bool:
        """Whether an adapter could be pinned now."""
        return digest in self._order or len(self._order) < self._count or next(self._idle(), None) is not None

    def pin(self, adapter: HostAdapter) -> bool:
        """Take an adapter into a slot and keep it there; False, and no change, where rows use all slots."""
        bank = self.bank(adapter.layout)
        if adapter.digest not in self._order and not self._make_room():
            return False
        bank.pin(adapter, limit=self._limit(bank))
        self._order.pop(adapter.digest, None)
        self._order[adapter.digest] = bank
        return True

    def unpin(self, digest: str) -> None:
        """Let go of an adapter; it stays until its slot is wanted."""
        self._order[digest].unpin(digest)

    def forget(self, digest: str) -> None:
        """Give up the slot of an adapter that nobody uses; harmless if it is in none."""
        bank = self._order.pop(digest, None)
        if bank is not None:
            bank.evict(digest)

    def gather(self) -> None:
        """Bring adapters in use together where they have become scattered."""
        for bank in self._banks.values():
            bank.gather()

    def _make_room(self) -> bool:
        if len(self._order) < self._count:
            return True
        idle = next(self._idle(), None)
        if idle is None:
            return False
        self.forget(idle)
        return True

    def _idle(self) -> Iterator[str]:
        """Adapters that nobody uses, least recently used first."""
        return (digest for digest, bank in self._order.items() if not bank.used(digest))

    def _limit(self, bank: Bank) -> int:
        return self._count - sum(other.residents for other in self._banks.values() if other is not bank)
