"""Whose turn it is: projects share an engine equally, and within a project its adapters do.

Virtual token counters, after "Fairness in Serving Large Language Models" (Sheng et al., OSDI 2024): who was served least
goes next. Who comes anew, or had nothing waiting for a while, starts level with those who wait: nobody saves up turns.
"""

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.inference.engine.batched.rows import Row

_SOME_IDLE = 64


@dataclass(eq=False, slots=True)
class Party:
    """Somebody who takes turns with others.

    Attributes:
        served: tokens computed, by weight; or more, for one who came late.
        waiting: rows that wait.
        running: rows that run.
        turn: when it began to wait or had its latest turn, as a number that grows.
        listed: whether ``Turns`` will find it when looking for who goes next.
    """

    served: float = 0.0
    waiting: int = 0
    running: int = 0
    turn: int = 0
    listed: bool = False


PartyT = TypeVar("PartyT", bound=Party)


class Turns(Generic[PartyT]):
    """Parties that share something; who was served least goes next, and of equals the one whose turn is longest ago."""

    def __init__(self) -> None:
        """Start without any."""
        self._parties: dict[Hashable, PartyT] = {}
        self._heap: list[tuple[float, int, PartyT]] = []
        self._turns = 0
        self._latest: PartyT | None = None
        self._sweep_at = _SOME_IDLE
        self.active = 0
        self.running = 0

    def party(self, key: Hashable, make: Callable[[], PartyT]) -> PartyT:
        """The party of this key, or a new one."""
        party = self._parties.get(key)
        if party is None:
            self._sweep()
            party = self._parties[key] = make()
        return party

    def count(self, party: PartyT, *, waiting: int = 0, running: int = 0) -> None:
        """Note that so many rows more, or fewer, wait and run."""
        was_active = party.waiting + party.running > 0
        if waiting > 0 and party.waiting == 0:
            party.served = max(party.served, self._level())
            self._take_turn(party)
        if running > 0:
            self._latest = party
            self._take_turn(party)
        party.waiting += waiting
        party.running += running
        self.running += running
        self.active += (party.waiting + party.running > 0) - was_active
        self.list(party)
        if self.active == 0:
            self._forget()

    def list(self, party: PartyT) -> None:
        """Let a party be found again, if it has rows that wait."""
        if party.waiting > 0 and not party.listed:
            party.listed = True
            heapq.heappush(self._heap, (party.served, party.turn, party))

    def pop(self) -> PartyT | None:
        """The party that goes next, which is then not listed; None where nobody who waits is."""
        party = self._next()
        if party is not None:
            heapq.heappop(self._heap)
            party.listed = False
        return party

    def above_share(self, party: PartyT) -> bool:
        """Whether more rows of it run than of each, if all had equally many."""
        return party.running * self.active > self.running

    def below_share(self, party: PartyT) -> bool:
        """Whether fewer do."""
        return party.running * self.active < self.running

    def _take_turn(self, party: PartyT) -> None:
        self._turns += 1
        party.turn = self._turns

    def _next(self) -> PartyT | None:
        while self._heap:
            served, turn, party = self._heap[0]
            if party.waiting == 0:
                heapq.heappop(self._heap)
                party.listed = False
            elif (served, turn) < (party.served, party.turn):
                # Both only grow, so that what is found on top is never too late to be put right.
                heapq.heapreplace(self._heap, (party.served, party.turn, party))
            else:
                return party
        return None

    def _level(self) -> float:
        """Where a newcomer starts: beside the least served of those who wait, or else who had the latest turn."""
        party = self._next() or self._latest
        return 0.0 if party is None else party.served

    def _sweep(self) -> None:
        """Forget who is idle and would start at the level anyway; without this, every name would be kept for ever."""
        if len(self._parties) < self._sweep_at:
            return
        level = self._level()
        self._parties = {
            key: party for key, party in self._parties.items() if party.waiting or party.running or party.served > level
        }
        self._sweep_at = 2 * len(self._parties) + _SOME_IDLE

    def _forget(self) -> None:
        """Nobody competes: whoever comes next begins afresh."""
        self._parties.clear()
        self._heap.clear()
        self._latest = None
        self._sweep_at = _SOME_IDLE


@dataclass(eq=False, slots=True)
class Project(Party):
    """A project, with a queue for each adapter."""

    queues: "Turns[Queue]" = field(default_factory=Turns)


@dataclass(eq=False, slots=True, kw_only=True)
class Queue(Party):
    """Rows of a project that wait for the same adapter, or for the base alone; first in, first out.

    Attributes:
        project: whose.
        left: when a row of it last ended or gave its place up.
        rows: those that wait.
    """

    project: Project
    left: float = -math.inf
    rows: OrderedDict[Row, None] = field(default_factory=OrderedDict)


class Queues:
    """All queues. A row waits, runs and ends, or goes back from running to the front of its queue."""

    def __init__(self) -> None:
        """Start empty."""
        self._projects: Turns[Project] = Turns()

    def enter(self, row: Row) -> Queue:
        """Put a row at the end of its queue, and say which."""
        request = row.request
        project = self._projects.party(request.project, Project)
        queue = project.queues.party(request.adapter, lambda: Queue(project=project))
        self._count(queue, waiting=1)
        queue.rows[row] = None
        return queue

    def leave(self, row: Row, queue: Queue) -> None:
        """Take a row that waits out of its queue."""
        del queue.rows[row]
        self._count(queue, waiting=-1)

    def start(self, row: Row, queue: Queue) -> None:
        """A row that waited runs."""
        del queue.rows[row]
        self._count(queue, waiting=-1, running=1)

    def stop(self, queue: Queue) -> None:
        """A row that ran has ended."""
        self._count(queue, running=-1)

    def put_back(self, row: Row, queue: Queue) -> None:
        """A row that ran waits again, before all others of its queue."""
        self._count(queue, waiting=1, running=-1)
        queue.rows[row] = None
        queue.rows.move_to_end(row, last=False)

    def heads(self) -> Generator[Row]:
        """First rows of queues, in the order of their turns; one that is not started has had its turn.

        Where one was not started, the other projects come before the next queue of its own. To be closed: until then,
        those that had their turn are not listed.
        """
        later: deque[Project] = deque()
        done: list[Project] = []
        refused: list[Queue] = []
        try:
            while (project := self._projects.pop() or (later.popleft() if later else None)) is not None:
                queue = project.queues.pop()
                if queue is None:
                    done.append(project)
                    continue
                head = next(iter(queue.rows))
                refused.append(queue)
                later.append(project)
                yield head
                if head not in queue.rows:
                    project.queues.list(refused.pop())
                    self._projects.list(later.pop())
        finally:
            for queue in refused:
                queue.project.queues.list(queue)
            for project in (*later, *done):
                self._projects.list(project)

    def served_more(self, queue: Queue, other: Queue) -> bool:
        """Whether a queue, or its project where that is another one, was served more than another queue."""
        if queue.project is other.project:
            return queue.served > other.served
        return queue.project.served > other.project.served

    def owes(self, queue: Queue, other: Queue) -> bool:
        """Whether a queue runs more than its share, and is to make way for another one that was served less."""
        if not self.served_more(queue, other):
            return False
        if queue.project is other.project:
            return queue.project.queues.above_share(queue)
        return self._projects.above_share(queue.project) and self._projects.below_share(other.project)

    def excess(self, queue: Queue) -> tuple[bool, bool]:
        """Whether its project runs more than its share, and it more than its share of that; the greatest has most."""
        project = queue.project
        return self._projects.above_share(project), project.queues.above_share(queue)

    def charge(self, queue: Queue, tokens: float) -> None:
        """Note what was computed."""
        queue.served += tokens
        queue.project.served += tokens

    def _count(self, queue: Queue, *, waiting: int = 0, running: int = 0) -> None:
        queue.project.queues.count(queue, waiting=waiting, running=running)
        self._projects.count(queue.project, waiting=waiting, running=running)
