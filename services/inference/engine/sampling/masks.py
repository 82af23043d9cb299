"""Constraints: the tokens that may not come get no probability."""

from collections.abc import Sequence

import structlog
import torch

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import TokenConstraint

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def apply(logits: torch.Tensor, constraints: Sequence[tuple[int, TokenConstraint]]) -> dict[int, DomainError]:
    """Set the logits of tokens that may not come to -inf, in place.

    Args:
        logits: float32 [rows, vocabulary].
        constraints: indices of rows, each once, and what they must follow.

    Returns:
        Rows whose constraint failed, and why; their logits are left as they were.
    """
    failures = {}
    masks = torch.zeros((len(constraints), -(-logits.shape[-1] // 32)), dtype=torch.int32)
    for mask, (index, constraint) in zip(masks, constraints, strict=True):
        try:
            constraint.allow(mask)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this row's
            failures[index] = failure(error)
            mask.fill_(-1)
    rows = torch.tensor([index for index, _ in constraints], device=logits.device)
    # As many as the batch has: no copy of what is everything.
    if len(constraints) == len(logits):
        logits.masked_fill_(_forbidden(masks, logits), -torch.inf)
    else:
        logits[rows] = logits[rows].masked_fill_(_forbidden(masks, logits), -torch.inf)
    return failures


def failure(error: Exception) -> DomainError:
    """What a row's caller is told of a constraint that raised."""
    if isinstance(error, DomainError):
        return error
    log.error("constraint failed", exc_info=error)
    return DomainError(Reason.INTERNAL, "The constraint could not be followed. Try another one, or send it again.")


def _forbidden(masks: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Bits cleared, as bool [masks, vocabulary]. They travel to the device as bits."""
    octets = masks.view(torch.uint8).to(logits.device)
    bits = torch.arange(8, dtype=torch.uint8, device=logits.device)
    allowed = (octets[:, :, None] >> bits) & 1
    return allowed.view(len(masks), -1)[:, : logits.shape[-1]] == 0
