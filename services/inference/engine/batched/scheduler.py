"""Who computes in the next step: rows join and leave at every one, nobody waits for a whole answer of somebody else."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from services.inference.engine.batched.fairness import Queue, Queues
from services.inference.engine.batched.pace import Pace
from services.inference.engine.batched.rows import Piece, Room, Row
from services.inference.engine.protocol import EngineObserver

# A step computes an answer's token for itself, and prompt tokens many at a time (Sheng et al., 2024, take 2 as well).
_ANSWER_WEIGHT = 2.0
# Looking for room is not free: so many rows may look in vain before a step.
_LOOKS = 8
# Rows grow: once memory was short there are no more of them than then, and one more for every four that end.
_GROWTH = 0.25
# What a row of several of its queue may run before its place can be asked for, and the only one, in ``patience``.
_SLICE, _LONG_SLICE = 1.0, 20.0
# How long rows of an adapter may end by themselves when another one wants its slot, in ``patience``.
_DRAIN = 4.0
# At most a third of the time goes into prompts that are computed again.
_PREFILL_SLICE = 2.0


class NoRoomError(RuntimeError):
    """A row has the memory to itself and it is too small: the row should not have been let in.

    Attributes:
        row: the row, which is still running.
    """

    def __init__(self, row: Row) -> None:
        """Say which."""
        super().__init__(f"A row of {len(row.tokens)} tokens has no room, though it runs alone.")
        self.row = row


class RoomFailedError(RuntimeError):
    """Giving a row its room raised.

    Attributes:
        row: the row, which waits or runs as before.
        error: what was raised.
    """

    def __init__(self, row: Row, error: Exception) -> None:
        """Say which, and what."""
        super().__init__(f"A row of {len(row.tokens)} tokens could not be given room.")
        self.row = row
        self.error = error


@dataclass(eq=False, slots=True)
class _Place:
    """What the scheduler knows of a row.

    Attributes:
        row: the row.
        queue: where it waits, or waited.
        since: when it began to wait, or to run.
        ticket: how many rows had run when it first did, itself among them; 0 before that.
        passed: rows that were admitted while it had its turn and no room.
        prefill: seconds from being admitted to its first step of one token; None until then.
        freed: positions that others gave up for it.
    """

    row: Row
    queue: Queue
    since: float
    ticket: int = 0
    passed: int = 0
    prefill: float | None = None
    freed: int = 0


class Scheduler:
    """Decides before each step which rows compute how many tokens. Belongs to the engine's thread.

    - Rows that decode compute one token each; what is left of a step goes to prompts, as ``Pace`` allows, in the order in
      which rows were admitted.
    - The queue served least goes next (``fairness``). Where its first row has no room, others may pass; after
      ``max_rows`` of them nobody does, until it has room.
    - Memory that is short is taken from another row, which is computed again later: of a project and adapter with more
      than its share, if there is one, the row that costs least to compute again, and of equals the one admitted last. The
      row that first ran before all others never gives its place up to them, so that it ends, and then the next one.
    - A row of a queue that has nothing running asks for a place after ``patience``: a row of the most served queue above
      its share makes way, when it has run long enough to have been worth its prompt.
    """

    def __init__(
        self,
        room: Room,
        *,
        max_rows: int,
        pace: Pace,
        clock: Callable[[], float],
        observer: EngineObserver,
        patience: float = 0.5,
    ) -> None:
        """Start with an empty queue.

        Args:
            room: what rows occupy.
            max_rows: most rows of a step.
            pace: asked for the prompt tokens of each step; who measures steps tells it what they took.
            clock: seconds; that of ``row.arrived``.
            observer: told of rows admitted and preempted.
            patience: seconds that a queue with nothing running waits before it asks for a place.
        """
        self._room = room
        self._max_rows = max_rows
        self._pace = pace
        self._clock = clock
        self._observer = observer
        self._patience = patience
        self._queues = Queues()
        self._waiting: dict[Row, _Place] = {}
        self._running: dict[Row, _Place] = {}  # in the order in which they were admitted
        self._tickets = 0
        self._next: _Place | None = None  # way is being made for it
        self._limit = float(max_rows)  # rows for which memory is enough, as far as is known

    @property
    def waiting(self) -> int:
        """Rows that wait, those among them that ran before."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows that have room."""
        return len(self._running)

    def submit(self, row: Row) -> None:
        """Let a new row wait for its turn."""
        self._waiting[row] = _Place(row, self._queues.enter(row), row.arrived)

    def plan(self) -> tuple[Piece, ...]:
        """Say what the next step computes: at most one piece of each row, those that decode first.

        Opens, extends, preempts and drops rows. Nothing to compute though rows wait means that room which nobody uses is
        not free yet.

        Raises:
            NoRoomError: a row that runs alone cannot be extended.
            RoomFailedError: one could not be given room for another reason.
        """
        now = self._clock()
        for row in [row for rows in (self._waiting, self._running) for row in rows if row.abandoned]:
            self.finish(row)
        self._extend(now)
        if self._waiting:
            self._admit(now)
        else:
            self._limit = float(self._max_rows)
        return self._pieces(now)

    def advance(self, pieces: Iterable[Piece]) -> None:
        """Note that a step computed its pieces; tokens that it picked are appended to their rows afterwards."""
        for piece in pieces:
            place = self._running[piece.row]
            if piece.complete:
                self._queues.charge(place.queue, _ANSWER_WEIGHT)
            piece.row.computed += piece.count

    def finish(self, row: Row) -> None:
        """Forget a row, waiting or running, and take its room back; one that is not known is none of ours."""
        place = self._waiting.pop(row, None)
        if place is not None:
            self._queues.leave(row, place.queue)
            if place is self._next:
                self._next = None
            return
        place = self._running.pop(row, None)
        if place is not None:
            self._queues.stop(place.queue)
            place.queue.left = self._clock()
            self._room.close(row)
            self._limit = min(self._limit + _GROWTH, self._max_rows)

    def _extend(self, now: float) -> None:
        """Make room for the keys and values of rows that decode; rows that must go for it wait again."""
        for row, place in list(self._running.items()):
            if not row.decoding:
                continue
            while row in self._running and not self._extended(row):
                alone = len(self._running) == 1
                if alone and not self._room.fits(len(row.tokens)):
                    raise NoRoomError(row)
                # One that is alone makes room itself: larger room cannot lie beside what it has.
                self._preempt(place if alone else self._cheapest(place), now)
                self._limit = float(max(len(self._running), 1))

    def _extended(self, row: Row) -> bool:
        try:
            return self._room.extend(row, len(row.tokens))
        except Exception as error:
            raise RoomFailedError(row, error) from error

    def _cheapest(self, needy: _Place) -> _Place:
        """The row whose room another takes: the needy one itself if there is just the one that nobody may preempt."""
        first = min(self._running.values(), key=_ticket)
        others = [place for place in self._running.values() if place is not needy and place is not first]
        excess = {place.queue: self._queues.excess(place.queue) for place in others}
        # Reversed: of equals, the one admitted last.
        return max(reversed(others), key=lambda place: (excess[place.queue], -place.row.computed), default=needy)

    def _admit(self, now: float) -> None:
        """Let rows in, in the order of their turns; before them, the one for which way is being made."""
        removable = [place for place in self._running.values() if not self._protected(place, now)]
        kept_out = None
        if self._next is not None and not self._enter(self._next, removable, now):
            if not self._room.seats(self._next.row):
                kept_out = self._rarest(self._next.queue)
            elif self._running:
                return
        refused: list[_Place] = []
        with closing(self._queues.heads()) as heads:
            for row in heads:
                place, claimed = self._waiting[row], self._next
                if (row.request.adapter is None or row.request.adapter != kept_out) and self._enter(
                    place, removable, now
                ):
                    self._passed(refused)
                else:
                    refused.append(place)
                if len(refused) == _LOOKS or self._next is not claimed:
                    return

    def _passed(self, refused: list[_Place]) -> None:
        """Somebody was admitted before these rows; that happens to nobody more often than a whole batch."""
        for place in refused:
            place.passed += 1
            if place.passed >= self._max_rows and self._next is None:
                self._next = place

    def _enter(self, place: _Place, removable: list[_Place], now: float) -> bool:
        """Let a row in if there is room, or if somebody owes it theirs; of those who may go for it, some may be gone."""
        impatient = place.queue.running == 0 and _waited(place, now) >= self._patience
        if (impatient or len(self._running) < int(self._limit)) and self._open(place, now):
            return True
        if impatient and self._next in (None, place) and self._make_way(place, removable, now):
            # What was freed is for this row, now or when there is enough of it.
            self._next = place
            return self._open(place, now)
        return False

    def _open(self, place: _Place, now: float) -> bool:
        row = place.row
        try:
            if len(self._running) >= self._max_rows or not self._room.open(row):
                return False
        except Exception as error:
            raise RoomFailedError(row, error) from error
        if place is self._next:
            self._next = None
        del self._waiting[row]
        self._running[row] = place
        self._queues.start(row, place.queue)
        if not place.ticket:
            self._tickets += 1
            place.ticket = self._tickets
            self._queues.charge(place.queue, len(row.tokens) - row.computed)
            self._observer.admitted(now - row.arrived)
        place.since, place.prefill, place.passed, place.freed = now, None, 0, 0
        return True

    def _make_way(self, place: _Place, removable: list[_Place], now: float) -> bool:
        """Preempt who owes a row what it lacks: a place for its adapter, or else memory or a place in the batch.

        Says whether anything is, or will be, free.
        """
        if self._room.seats(place.row):
            leaving = self._debtor(place, removable)
        else:
            rarest = self._rarest(place.queue)
            if rarest is None:
                return False
            # All rows of an adapter for one: first it is seen whether they end by themselves, while no more are let in.
            if _waited(place, now) < _DRAIN * self._patience:
                return True
            leaving = [other for other in removable if other.row.request.adapter == rarest]
        for other in leaving:
            removable.remove(other)
            place.freed += other.row.computed
            self._preempt(other, now)
        return bool(leaving)

    def _debtor(self, place: _Place, removable: list[_Place]) -> list[_Place]:
        """The cheapest row of the most served queue that owes another a place; none when much was freed in vain."""
        if place.freed > 2 * len(place.row.tokens):
            return []
        owing = [other for other in removable if self._queues.owes(other.queue, place.queue)]
        return sorted(owing, key=_debt)[-1:]

    def _protected(self, place: _Place, now: float) -> bool:
        """Whether a row has run too short a time to go for the sake of others."""
        if place.prefill is None:
            return True
        least = _SLICE if place.queue.running > 1 else _LONG_SLICE
        return now - place.since - place.prefill < max(least * self._patience, _PREFILL_SLICE * place.prefill)

    def _rarest(self, queue: Queue) -> str | None:
        """The adapter that fewest rows run with, of those all of whose queues were served more than this one."""
        rows: Counter[str] = Counter()
        spared: set[str] = set()
        for place in self._running.values():
            adapter = place.row.request.adapter
            if adapter is None:
                continue
            rows[adapter] += 1
            if not self._queues.served_more(place.queue, queue):
                spared.add(adapter)
        return min((adapter for adapter in rows if adapter not in spared), key=rows.__getitem__, default=None)

    def _preempt(self, place: _Place, now: float) -> None:
        """Take a row's room; it goes on later from its tokens, and was charged for them already."""
        row = place.row
        self._room.close(row)
        row.computed = 0
        place.since = place.queue.left = now
        del self._running[row]
        self._waiting[row] = place
        self._queues.put_back(row, place.queue)
        self._observer.preempted()

    def _pieces(self, now: float) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        prompts: list[Row] = []
        for row, place in self._running.items():
            if row.decoding:
                pieces.append(Piece(row, 1))
                if place.prefill is None:
                    place.prefill = now - place.since
            else:
                prompts.append(row)
        if prompts:
            pieces += _chunks(prompts, self._pace.budget(len(pieces), len(prompts)))
        return tuple(pieces)


def _chunks(rows: Iterable[Row], budget: int) -> Iterator[Piece]:
    for row in rows:
        count = min(len(row.tokens) - row.computed, budget)
        if count <= 0:
            return
        budget -= count
        yield Piece(row, count)


def _waited(place: _Place, now: float) -> float:
    """For how long a row has waited and nothing of its queue has run."""
    return now - max(place.since, place.queue.left)


def _ticket(place: _Place) -> int:
    return place.ticket


def _debt(place: _Place) -> tuple[float, float, int]:
    return place.queue.project.served, place.queue.served, -place.row.computed
