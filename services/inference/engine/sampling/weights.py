"""From logits to the weights of tokens: temperature, top_k, top_p and min_p, in this order, as transformers applies them.

Everything a row may ask for keeps its likeliest tokens down to some weight, so all of it comes to one floor for each row.
Tokens of the same weight are kept or dropped together; transformers does so for top_k, and drops some of them for top_p.
"""

from collections.abc import Sequence
from typing import Final

import torch

from services.inference.engine.protocol import Sampling

_COLDEST: Final = 1e-30
"""Lowest temperature that float32 can divide by; below it, as at it, only ties with the likeliest token are left."""
_LEADING: Final = 64
"""Tokens of a row that are sorted at first. Nearly always they are enough; many more take many times as long."""
_BUCKETS: Final = 4096
_DEEPEST: Final = 10.17
"""Root of the largest -ln(weight) that float32 has, 103.28, and a little: zero is alone in the last bucket."""


def token_weights(logits: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """Probabilities of tokens, up to a factor: the likeliest one's weight is 1.

    Args:
        logits: float32 [rows, vocabulary], finite or -inf, with a finite one in each row; used up.
        samplings: of each row; temperatures above 0.

    Returns:
        float32 [rows, vocabulary].
    """
    temperatures = _column([max(sampling.temperature, _COLDEST) for sampling in samplings], logits)
    # The largest is subtracted first: divided by a tiny temperature it would overflow.
    weights = logits.sub_(logits.amax(-1, keepdim=True)).div_(temperatures).exp_()
    vocabulary = weights.shape[-1]
    top_k = [float(sampling.top_k) if 0 < sampling.top_k < vocabulary else 0.0 for sampling in samplings]
    top_p = [sampling.top_p if sampling.top_p < 1 else 0.0 for sampling in samplings]
    if any(top_k) or any(top_p):
        leading = weights.topk(min(_LEADING, vocabulary)).values.double()
        if any(top_k):
            floors = _floors(weights, leading, _column(top_k, leading), counted=True)
            weights.masked_fill_(weights < floors, 0)
            leading.masked_fill_(leading < floors, 0)
        if any(top_p):
            shares = _column(top_p, leading) * weights.sum(-1, keepdim=True)
            floors = _floors(weights, leading, shares, counted=False)
            weights.masked_fill_(weights < floors, 0)
    if any(sampling.min_p for sampling in samplings):
        weights.masked_fill_(weights < _column([sampling.min_p for sampling in samplings], weights), 0)
    return weights


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _floors(weights: torch.Tensor, leading: torch.Tensor, targets: torch.Tensor, *, counted: bool) -> torch.Tensor:
    """The largest weight in each row such that the tokens down to it have at least this mass.

    Args:
        weights: float32 [rows, vocabulary].
        leading: float64 [rows, leading], weights of the heaviest tokens, the heaviest first.
        targets: float64 [rows, 1]; 0 keeps everything.
        counted: whether a token's mass is 1, or its weight.

    Returns:
        float32 [rows, 1].
    """
    reached = (torch.ones_like(leading) if counted else leading).cumsum(-1)
    place = (reached < targets).sum(-1, keepdim=True)
    found = leading.gather(-1, place.clamp_(max=leading.shape[-1] - 1)).masked_fill_(targets == 0, 0)
    beyond = (reached[:, -1] < targets[:, 0]).nonzero()[:, 0]
    if len(beyond):
        found[beyond] = _searched(weights[beyond], targets[beyond], counted=counted)
    return found.to(weights.dtype)


def _searched(weights: torch.Tensor, targets: torch.Tensor, *, counted: bool) -> torch.Tensor:
    """The same for rows that keep many tokens, float64 [rows, 1]: they are put into buckets, and one bucket is sorted."""
    masses = torch.ones_like(weights) if counted else weights
    buckets = weights.log().neg_().sqrt_().mul_((_BUCKETS - 1) / _DEEPEST).clamp_(max=_BUCKETS - 1).long()
    held = weights.new_zeros((len(weights), _BUCKETS)).scatter_add_(-1, buckets, masses)
    reached = held.double().cumsum(-1)
    crossing = (reached < targets).sum(-1, keepdim=True).clamp_(max=_BUCKETS - 1)
    # The last bucket holds what weighs nothing: a row that comes to it keeps everything.
    inside = (buckets == crossing) & (crossing < _BUCKETS - 1)
    members = inside.count_nonzero(-1)[:, None]
    ordered, order = weights.masked_fill(~inside, 0).topk(max(int(members.max()), 1))
    before = reached.gather(-1, crossing) - held.gather(-1, crossing)
    place = (before + masses.gather(-1, order).double().cumsum(-1) < targets).sum(-1, keepdim=True)
    return ordered.gather(-1, torch.minimum(place, (members - 1).clamp_(min=0))).double()
