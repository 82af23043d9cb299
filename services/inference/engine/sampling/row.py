"""What picking the tokens of one generation needs to remember."""

from collections.abc import Iterable

from services.inference.engine.protocol import Sampling, TokenConstraint
from services.inference.engine.sampling.changes import Changes
from services.inference.engine.sampling.draw import Draws


class RowPicker:
    """The state of one generation; it outlives preemption, and belongs to the engine's thread.

    Attributes:
        position: tokens picked so far.
        ended: whether nothing may follow the last one: it was a stop token, or it completed what the constraint asks for,
            in which case it belongs to the text.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: Iterable[int],
        vocabulary_size: int,
        stop_token_ids: frozenset[int],
        constraint: TokenConstraint | None,
        *,
        adapter: str | None = None,
    ) -> None:
        """Begin before the first token.

        Args:
            sampling: how tokens are picked.
            prompt_ids: the prompt; read only where a penalty asks for it.
            vocabulary_size: number of logits in a row.
            stop_token_ids: tokens that end the answer.
            constraint: what the answer must look like, or None.
            adapter: digest of the adapter that computes the logits, or None: whom to blame for numbers that overflow.
        """
        self.sampling = sampling
        self.constraint = constraint
        self.changes = Changes(sampling, prompt_ids, vocabulary_size) if Changes.wanted(sampling) else None
        self.adapter = adapter
        self.position = 0
        self.ended = False
        self._stop_token_ids = stop_token_ids
        self._draws = Draws(sampling.seed) if sampling.temperature > 0 else None

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is picked, whatever came before."""
        return self._draws is None and self.changes is None and self.constraint is None

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn."""
        return self._draws is not None

    def draw(self) -> float:
        """The draw for the next token, in [0, 1); the same until a token is accepted."""
        return 0.0 if self._draws is None else self._draws.uniform(self.position)

    def accept(self, token_id: int) -> None:
        """Take the token that was picked; whatever the constraint raises leaves the row unfit to go on."""
        self.position += 1
        self.ended = token_id in self._stop_token_ids
        if self.changes is not None:
            self.changes.accept(token_id)
        if self.constraint is not None and not self.ended:
            self.constraint.accept(token_id)
            self.ended = self.constraint.done
