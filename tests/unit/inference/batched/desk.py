"""A scheduler at work without an engine: a room that counts, steps that take what they are said to take."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from services.inference.engine.batched.pace import Pace
from services.inference.engine.batched.rows import Piece, Row
from services.inference.engine.batched.scheduler import Scheduler
from services.inference.engine.protocol import EngineRequest

DECODE_SECONDS, ROW_SECONDS, PROMPT_SECONDS = 0.008, 0.0001, 0.0004


class WatchedPace(Pace):
    """Remembers what it allowed last."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = 0

    def budget(self, decoding: int, prompts: int = 1) -> int:
        self.allowed = super().budget(decoding, prompts)
        return self.allowed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class CountingRoom:
    """So many positions, and places for so many adapters; may keep what it computed of closed rows."""

    positions: int = 10**9
    slots: int = 10**9
    remembers: bool = False
    used: dict[Row, int] = field(default_factory=dict)
    kept: dict[tuple[str | None, tuple[int, ...]], int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.positions - sum(self.used.values())

    def open(self, row: Row) -> bool:
        assert row not in self.used
        assert row.computed == 0
        if len(row.tokens) > self.free or not self.seats(row):
            return False
        self.used[row] = len(row.tokens)
        row.computed = min(self.kept.get(self._key(row), 0), len(row.tokens) - 1) if self.remembers else 0
        return True

    def extend(self, row: Row, length: int) -> bool:
        if length - self.used[row] > self.free:
            return False
        self.used[row] = max(length, self.used[row])
        return True

    def close(self, row: Row) -> None:
        del self.used[row]
        self.kept[self._key(row)] = row.computed

    def seats(self, row: Row) -> bool:
        used = {other.request.adapter for other in self.used} - {None}
        return row.request.adapter is None or row.request.adapter in used or len(used) < self.slots

    def fits(self, length: int) -> bool:
        return length <= self.positions

    @staticmethod
    def _key(row: Row) -> tuple[str | None, tuple[int, ...]]:
        return row.request.adapter, row.request.token_ids


@dataclass
class Log:
    """What an observer was told."""

    waits: list[float] = field(default_factory=list)
    preemptions: int = 0

    def admitted(self, waited: float) -> None:
        self.waits.append(waited)

    def preempted(self) -> None:
        self.preemptions += 1

    def stepped(self, *, decoding: int, prefilled: int, seconds: float) -> None: ...

    def prefix(self, *, reused: int, computed: int) -> None: ...

    def slot(self, *, hit: bool) -> None: ...

    def kv_used(self, used: int, total: int) -> None: ...


class Desk:
    """Rows go in; ``step`` does what the engine does, and checks what must hold after every plan."""

    def __init__(self, room: CountingRoom | None = None, *, max_rows: int = 64, patience: float = 0.5) -> None:
        self.clock, self.log, self.pace, self.room = Clock(), Log(), WatchedPace(), room or CountingRoom()
        self.max_rows = max_rows
        self.scheduler = Scheduler(
            self.room, max_rows=max_rows, pace=self.pace, clock=self.clock, observer=self.log, patience=patience
        )
        self.live: list[Row] = []
        self.done: dict[Row, float] = {}
        self.first_token: dict[Row, float] = {}
        self.served: Counter[tuple[str, str | None]] = Counter()
        self.prefilled = 0
        self.steps = 0

    def ask(self, *, prompt: int = 4, answer: int = 8, adapter: str | None = None, project: str = "") -> Row:
        request = EngineRequest((0,) * prompt, adapter, answer, frozenset(), project=project)
        row = Row(request, self.clock.now)
        self.live.append(row)
        self.scheduler.submit(row)
        return row

    def step(self) -> tuple[Piece, ...]:
        self.live = [row for row in self.live if not row.abandoned]
        pieces = self.scheduler.plan()
        self.check(pieces)
        decoding = sum(piece.row.decoding for piece in pieces)
        prefilled = sum(piece.count for piece in pieces) - decoding
        seconds = DECODE_SECONDS * (decoding > 0) + ROW_SECONDS * decoding + PROMPT_SECONDS * prefilled
        self.clock.now += seconds or 0.01
        self.prefilled += prefilled
        self.steps += 1
        complete = [piece.row for piece in pieces if piece.complete]
        self.scheduler.advance(pieces)
        for row in complete:
            self.deliver(row)
        if pieces:
            self.pace.observe(decoding, prefilled, seconds)
        return pieces

    def deliver(self, row: Row) -> None:
        row.tokens.append(1)
        self.served[row.request.project, row.request.adapter] += 1
        self.first_token.setdefault(row, self.clock.now)
        if row.answered == row.request.max_tokens:
            self.done[row] = self.clock.now
            self.live.remove(row)
            self.scheduler.finish(row)

    def check(self, pieces: tuple[Piece, ...]) -> None:
        rows = [piece.row for piece in pieces]
        assert len(set(rows)) == len(rows)
        assert self.scheduler.running == len(self.room.used) <= self.max_rows
        assert self.scheduler.running + self.scheduler.waiting == len(self.live)
        assert self.room.free >= 0
        assert set(self.room.used) <= set(self.live)
        for row in self.live:
            assert 0 <= row.computed < len(row.tokens)
            assert row in self.room.used or row.computed == 0
            assert row in rows or not (row in self.room.used and row.decoding), "a row that decodes never waits"
        for piece in pieces:
            assert 1 <= piece.count <= len(piece.row.tokens) - piece.row.computed
            assert self.room.used[piece.row] >= piece.row.computed + piece.count
        decoding = sum(row.decoding for row in rows)
        prefilled = sum(piece.count for piece in pieces) - decoding
        assert prefilled <= self.pace.allowed

    def run(self, *, until: Callable[[], bool] | None = None, steps: int = 100_000) -> None:
        """Step until something holds, or everybody is done."""
        for _ in range(steps):
            if until() if until is not None else not self.live:
                return
            self.step()
        raise AssertionError(f"not after {steps} steps: {len(self.live)} rows are not done")


def counts(desk: Desk) -> list[tuple[Row, int]]:
    """Who computes in a step, and how many tokens."""
    return [(piece.row, piece.count) for piece in desk.step()]


def decoding(desk: Desk, **asked: int | str) -> Row:
    """A row that decodes; other prompts that wait go on meanwhile."""
    row = desk.ask(**asked)  # type: ignore[arg-type]
    desk.run(until=lambda: row.answered > 0)
    return row
