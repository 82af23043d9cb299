"""One token for each row of a batch, in as few operations over the whole batch as their rules allow.

A seeded row's token depends on its own logits, settings and earlier tokens alone. Other rows only change by which kernels
the logits and the weights are computed, so another token can come only of logits within 1e-4 of a tie (that decides which
is likeliest, or which are kept), or of a draw within 1e-4 of the boundary between two tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import TokenLogprobs
from services.inference.engine.sampling import changes, masks
from services.inference.engine.sampling.choose import choose
from services.inference.engine.sampling.logprobs import RawLogprobs
from services.inference.engine.sampling.row import RowPicker
from services.inference.engine.sampling.weights import token_weights


@dataclass(frozen=True, slots=True)
class Picked:
    """A token, and how likely the model found it if the row asks for that."""

    token_id: int
    logprobs: TokenLogprobs | None = None


@torch.inference_mode()
def pick(logits: torch.Tensor, rows: Sequence[RowPicker]) -> list[Picked | DomainError]:
    """Pick the next token of each row, and have the row take it.

    Args:
        logits: [rows, vocabulary] of any floating type, finite or -inf; used up.
        rows: at least one, each at most once.

    Returns:
        For each row its token, or why it has none; a row that fails does not change the others' tokens, and ends:
        ADAPTER_INVALID or INTERNAL where its logits are not finite; INVALID_ARGUMENT, LIMIT_EXCEEDED or INTERNAL where its
        constraint cannot be followed.
    """
    largest, likeliest = (found.tolist() for found in logits.max(-1))
    failures = _not_finite(logits, largest, rows)
    logprobs = RawLogprobs(logits, rows)
    if all(row.plain for row in rows):
        tokens = likeliest
    else:
        logits = logits.float()
        failures |= _changed(logits, rows)
        tokens = _tokens(logits, rows)
    for index, row in enumerate(rows):
        if index not in failures:
            try:
                row.accept(tokens[index])
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this row's
                failures[index] = masks.failure(error)
    told = logprobs.report(tokens)
    return [failures.get(index) or Picked(token, told.get(index)) for index, token in enumerate(tokens)]


def _not_finite(logits: torch.Tensor, largest: Sequence[float], rows: Sequence[RowPicker]) -> dict[int, DomainError]:
    """Rows that cannot be computed with; they are given numbers that harm nobody."""
    failures = {}
    # NaN spreads to the maximum; one number tells of a whole row.
    for index, number in enumerate(largest):
        if not math.isfinite(number):
            failures[index] = _overflow(rows[index].adapter)
            logits[index] = 0
    return failures


def _overflow(adapter: str | None) -> DomainError:
    if adapter is not None:
        return DomainError(
            Reason.ADAPTER_INVALID, "The adapter makes the base compute numbers that are not finite. Train it again."
        )
    return DomainError(Reason.INTERNAL, "The base computed numbers that are not finite.")


def _changed(logits: torch.Tensor, rows: Sequence[RowPicker]) -> dict[int, DomainError]:
    """Apply penalties, biases and constraints; rows that are left with nothing are given numbers that harm nobody."""
    changing = [(index, row.changes) for index, row in enumerate(rows) if row.changes is not None]
    if changing:
        changes.apply(logits, changing)
    constrained = [(index, row.constraint) for index, row in enumerate(rows) if row.constraint is not None]
    if not constrained:
        return {}
    failures = masks.apply(logits, constrained)
    for index, number in enumerate(logits.amax(-1).tolist()):
        if number == -math.inf:
            failures[index] = DomainError(
                Reason.INVALID_ARGUMENT,
                "The base has no token that could come next in what the constraint asks for. Try another constraint.",
            )
            logits[index] = 0
    return failures


def _tokens(logits: torch.Tensor, rows: Sequence[RowPicker]) -> list[int]:
    sampled = [index for index, row in enumerate(rows) if row.sampled]
    if not sampled:
        return [int(token) for token in logits.argmax(-1).tolist()]
    if len(sampled) == len(rows):
        return _drawn(logits, rows)
    tokens = [int(token) for token in logits.argmax(-1).tolist()]
    for index, token in zip(sampled, _drawn(logits[sampled], [rows[index] for index in sampled]), strict=True):
        tokens[index] = token
    return tokens


def _drawn(logits: torch.Tensor, rows: Sequence[RowPicker]) -> list[int]:
    draws = torch.tensor([row.draw() for row in rows], dtype=torch.float64, device=logits.device)
    return [int(token) for token in choose(token_weights(logits, [row.sampling for row in rows]), draws).tolist()]
