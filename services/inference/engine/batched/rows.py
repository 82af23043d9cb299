"""A request on its way through the batched engine, and what it needs of the engine's memory."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from services.inference.engine.protocol import EngineRequest

if TYPE_CHECKING:
    from services.inference.engine.batched.room import AttachedAdapter


@dataclass(eq=False, slots=True)
class Row:
    """One generation. Belongs to the engine's thread, but for ``abandoned``, which anybody may set.

    Invariant: ``0 <= computed < len(tokens)`` while it waits or runs: there is always a token left to compute.

    Attributes:
        request: what is asked.
        arrived: when, in seconds of the scheduler's clock.
        adapter: of the request, as it was attached when the request came.
        tokens: prompt and answer until now.
        computed: positions whose keys and values are in memory; none while it waits.
        abandoned: nobody waits for the answer any more.
        sound: whether everything computed has led to finite numbers; until then nobody else may use it.
    """

    request: EngineRequest
    arrived: float
    adapter: "AttachedAdapter | None" = None
    tokens: list[int] = field(init=False)
    computed: int = 0
    abandoned: bool = False
    sound: bool = False

    def __post_init__(self) -> None:
        """Begin with the prompt."""
        self.tokens = list(self.request.token_ids)

    @property
    def answered(self) -> int:
        """Tokens generated."""
        return len(self.tokens) - len(self.request.token_ids)

    @property
    def decoding(self) -> bool:
        """Whether the next step computes just its last token."""
        return len(self.tokens) - self.computed == 1


class Room(Protocol):
    """What rows occupy: memory for keys and values, and a place for their adapters. Belongs to the engine's thread."""

    def open(self, row: Row) -> bool:
        """Take room for all tokens of a row and pin its adapter; False where there is none now, and nothing is taken.

        Sets ``row.computed`` to the length of a prefix that was found computed, at most ``len(row.tokens) - 1``.
        """

    def extend(self, row: Row, length: int) -> bool:
        """Make sure of room for so many positions of an open row; False where there is none now."""

    def close(self, row: Row) -> None:
        """Take the room of an open row back; what it computed may be kept for others. Leaves ``row.computed`` alone."""

    def seats(self, row: Row) -> bool:
        """Whether a row's adapter has a place, or could have one now: then a row that cannot open lacks memory."""

    def fits(self, length: int) -> bool:
        """Whether a row of so many positions could ever have room, if it were alone."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step computes of a row: ``count`` tokens from ``row.computed`` on."""

    row: Row
    count: int

    @property
    def complete(self) -> bool:
        """Whether the row's next token can be picked after this step."""
        return self.row.computed + self.count == len(self.row.tokens)
