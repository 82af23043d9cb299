"""Loss and gradient of a batch, from its micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.trainer.recipe.training.batches import MicroBatch
from services.trainer.recipe.training.loss import SupervisedLoss
from services.trainer.recipe.training.team import Team


@dataclass(frozen=True, slots=True)
class _Share:
    """What one member of a team adds to a batch's loss and gradient."""

    loss: float
    gradient: list[Tensor]


def accumulate(
    loss: SupervisedLoss, pieces: Sequence[MicroBatch], parameters: Sequence[nn.Parameter], team: Team
) -> float:
    """Set every parameter's gradient to that of a batch's mean loss, and return that loss.

    Sums are formed in the same order each time, whoever is done first.
    """
    labels = sum(len(piece.targets) for piece in pieces)

    def add_up(share: Sequence[MicroBatch]) -> _Share:
        total, gradient = 0.0, None
        for piece in share:
            mean = loss.sum(piece) / labels
            added = torch.autograd.grad(mean, parameters, materialize_grads=True)
            total += mean.item()
            if gradient is None:
                gradient = list(added)
            else:
                torch._foreach_add_(gradient, added)  # what torch's own optimizers use
        return _Share(total, gradient or [])

    shares = team.map(add_up, _dealt(pieces, team.members))
    gradient = shares[0].gradient
    for share in shares[1:]:
        torch._foreach_add_(gradient, share.gradient)
    for parameter, value in zip(parameters, gradient, strict=True):
        parameter.grad = value
    return sum(share.loss for share in shares)


def mean_loss(loss: SupervisedLoss, pieces: Sequence[MicroBatch], team: Team) -> float:
    """Return the mean loss over all labels of some rows."""

    @torch.no_grad()
    def add_up(share: Sequence[MicroBatch]) -> float:
        return sum(loss.sum(piece).item() for piece in share)

    total = sum(team.map(add_up, _dealt(pieces, team.members)))
    return total / sum(len(piece.targets) for piece in pieces)


def _dealt(pieces: Sequence[MicroBatch], members: int) -> list[Sequence[MicroBatch]]:
    """Every member's share of the pieces, which are about alike."""
    return [pieces[member::members] for member in range(min(members, len(pieces)))]
