"""Which rows go into which step, and how a step is cut into pieces that fit the memory."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch import Tensor

from services.trainer.recipe.labels import IGNORED, LabelledRow

LEAST_TOKENS: Final = 256
MOST_TOKENS: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class PieceLimits:
    """How large a micro-batch may be.

    Attributes:
        tokens: of all, padding included; bounds the memory.
        padding: of them; one more micro-batch costs less time than more padding than this.
    """

    tokens: int
    padding: int


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        token_ids: int64 [rows, length], padded on the right with 0. Causal attention never looks there, so there is no mask.
        supervised: int64 [labels, 2], row and position of the token *before* each token that is learnt.
        targets: int64 [labels], the tokens that are learnt.
        tokens: how many tokens are no padding.
    """

    token_ids: Tensor
    supervised: Tensor
    targets: Tensor
    tokens: int

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
    """Group rows of similar length so that each group keeps within the limits; a row above them goes alone."""
    groups: list[list[LabelledRow]] = []
    longest = padding = 0
    for row in sorted(rows, key=lambda row: len(row.token_ids), reverse=True):
        padding += longest - len(row.token_ids)
        if groups and longest * (len(groups[-1]) + 1) <= limits.tokens and padding <= limits.padding:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest, padding = len(row.token_ids), 0
    return [_collate(group) for group in groups]


def _collate(rows: Sequence[LabelledRow]) -> MicroBatch:
    length = max(len(row.token_ids) for row in rows)
    token_ids = torch.zeros((len(rows), length), dtype=torch.int64)
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.int64)
    for index, row in enumerate(rows):
        token_ids[index, : len(row.token_ids)] = torch.frombuffer(row.token_ids, dtype=torch.int64)
        labels[index, : len(row.labels)] = torch.frombuffer(row.labels, dtype=torch.int64)
    following = labels[:, 1:]
    supervised = (following != IGNORED).nonzero()
    return MicroBatch(
        token_ids=token_ids,
        supervised=supervised,
        targets=following[supervised[:, 0], supervised[:, 1]],
        tokens=sum(len(row.token_ids) for row in rows),
    )
