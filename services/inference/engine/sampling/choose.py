"""Drawing a token by its weight: the inverse of the cumulative distribution, tokens in the order of their ids."""

from typing import Final

import torch
from torch.nn.functional import pad

_BLOCK: Final = 64
"""Tokens whose weights are first summed together: most of a large vocabulary is then passed over at once."""


def choose(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The first token up to which, ids increasing, the share of the weights exceeds the draw.

    Sums of blocks are float64. The order is fixed, so whatever another batch's kernels change in the last digits of the
    weights moves only a draw that lies as close to a boundary.

    Args:
        weights: float32 [rows, vocabulary], not negative, with a positive one in each row.
        draws: float64 [rows], in [0, 1).

    Returns:
        int64 [rows]; never a token of weight 0.
    """
    missing = -weights.shape[-1] % _BLOCK
    blocks = (pad(weights, (0, missing)) if missing else weights).view(len(weights), -1, _BLOCK)
    sums = blocks.sum(-1).double().cumsum(-1)
    targets = draws[:, None] * sums[:, -1:]
    block = _first_above(sums, targets)
    before = pad(sums, (1, 0)).gather(-1, block)
    inside = blocks[torch.arange(len(weights), device=weights.device), block.squeeze(-1)].double().cumsum(-1)
    return (block * _BLOCK + _first_above(inside, targets - before)).squeeze(-1)


def _first_above(sums: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Index of the first sum above the target, or, where rounding leaves none, of the last one that adds anything."""
    last = (sums < sums[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum((sums <= targets).sum(-1, keepdim=True), last)
