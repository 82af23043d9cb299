"""Which rows go into which step, and how a step is cut into pieces that fit the memory."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch import Tensor

from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow

LEAST_TOKENS: Final = 256
MOST_TOKENS: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class PieceLimits:
    """How a step is cut into micro-batches.

    Attributes:
        tokens: of a micro-batch, padding included; bounds the memory.
        padding: of them, where rows are padded; one more micro-batch costs less time than more padding than this.
        packed: whether rows lie one behind the other instead.
        members: micro-batches that are computed at the same time; there are a multiple of as many, where there are enough rows.
    """

    tokens: int
    padding: int
    packed: bool = False
    members: int = 1


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together: padded, or packed into one.

    Attributes:
        token_ids: int64 [rows, length], padded on the right with 0: causal attention never looks there, so there is no mask.
            Or int64 [1, tokens].
        lengths: of the rows that are packed; empty where they are padded.
        supervised: int64 [labels], where among all ``token_ids`` the token *before* each token that is learnt is.
        targets: int64 [labels], the tokens that are learnt.
        tokens: how many tokens are no padding.
    """

    token_ids: Tensor
    lengths: tuple[int, ...]
    supervised: Tensor
    targets: Tensor
    tokens: int

    @property
    def positions(self) -> Tensor | None:
        """int64 [1, tokens], of each packed token in its row."""
        if not self.lengths:
            return None
        return torch.cat([torch.arange(length) for length in self.lengths]).unsqueeze(0).to(self.token_ids.device)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(
            self,
            token_ids=self.token_ids.to(device),
            supervised=self.supervised.to(device),
            targets=self.targets.to(device),
        )


def batches(row_count: int, batch_size: int, epochs: int, seed: int) -> Iterator[list[int]]:
    """Yield the row numbers of every step. Each pass has its own order, and batches run on into the next pass."""
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret
    batch: list[int] = []
    for _ in range(epochs):
        for row in generator.sample(range(row_count), row_count):
            batch.append(row)
            if len(batch) == batch_size:
                yield batch
                batch = []
    if batch:
        yield batch


def token_budget(hidden: int, layers: int, vocabulary: int, memory_bytes: int) -> int:
    """Tokens, padding included, that a micro-batch may hold, so that its activations fit a memory, roughly.

    A layer keeps about 40 values per hidden unit for the backward pass, the head three per word of the vocabulary.
    """
    bytes_per_token = 4 * (40 * hidden * layers + 3 * vocabulary)
    return max(LEAST_TOKENS, min(MOST_TOKENS, memory_bytes // bytes_per_token))


def micro_batches(rows: Sequence[LabelledRow], limits: PieceLimits) -> list[MicroBatch]:
    """Cut a batch, the same way each time; a row above the limits goes alone."""
    return [(_pack if limits.packed else _pad)(group) for group in groups(rows, limits)]


def groups(rows: Sequence[LabelledRow], limits: PieceLimits) -> list[list[LabelledRow]]:
    """The rows of each micro-batch; what a plan wants to know of them."""
    return _balanced(rows, limits) if limits.packed else _alike(rows, limits)


def _balanced(rows: Sequence[LabelledRow], limits: PieceLimits) -> list[list[LabelledRow]]:
    """Groups of about as many tokens each, so that none is waited for."""
    longest_first = sorted(rows, key=lambda row: len(row.token_ids), reverse=True)
    count = limits.members
    while True:
        found: list[list[LabelledRow]] = [[] for _ in range(min(count, len(rows)))]
        tokens = [0] * len(found)
        for row in longest_first:
            least = tokens.index(min(tokens))
            found[least].append(row)
            tokens[least] += len(row.token_ids)
        fits = all(total <= limits.tokens or len(group) == 1 for total, group in zip(tokens, found, strict=True))
        if fits or count >= len(rows):
            return found
        count += limits.members


def _alike(rows: Sequence[LabelledRow], limits: PieceLimits) -> list[list[LabelledRow]]:
    """Groups of rows of similar length, for little padding."""
    found: list[list[LabelledRow]] = []
    longest = padding = 0
    for row in sorted(rows, key=lambda row: len(row.token_ids), reverse=True):
        padding += longest - len(row.token_ids)
        if found and longest * (len(found[-1]) + 1) <= limits.tokens and padding <= limits.padding:
            found[-1].append(row)
        else:
            found.append([row])
            longest, padding = len(row.token_ids), 0
    return found


def _pack(rows: Sequence[LabelledRow]) -> MicroBatch:
    token_ids = torch.cat([torch.frombuffer(row.token_ids, dtype=torch.int64) for row in rows])
    # The first token of a row is never learnt, so none is predicted by the row before it.
    labels = torch.cat([torch.frombuffer(row.labels, dtype=torch.int64) for row in rows])
    learnt = (labels != IGNORED).nonzero()[:, 0]
    return MicroBatch(
        token_ids=token_ids.unsqueeze(0),
        lengths=tuple(len(row.token_ids) for row in rows),
        supervised=learnt - 1,
        targets=labels[learnt],
        tokens=len(token_ids),
    )


def _pad(rows: Sequence[LabelledRow]) -> MicroBatch:
    length = max(len(row.token_ids) for row in rows)
    token_ids = torch.zeros((len(rows), length), dtype=torch.int64)
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.int64)
    for index, row in enumerate(rows):
        token_ids[index, : len(row.token_ids)] = torch.frombuffer(row.token_ids, dtype=torch.int64)
        labels[index, : len(row.labels)] = torch.frombuffer(row.labels, dtype=torch.int64)
    learnt = (labels.flatten() != IGNORED).nonzero()[:, 0]
    return MicroBatch(
        token_ids=token_ids,
        lengths=(),
        supervised=learnt - 1,
        targets=labels.flatten()[learnt],
        tokens=sum(len(row.token_ids) for row in rows),
    )
