"""Picking the next token from its logits."""

import torch

from services.inference.engine.protocol import Sampling


class Sampler:
    """Picks tokens for one generation, repeatably if seeded."""

    def __init__(self, sampling: Sampling, device: torch.device) -> None:
        """Seed the generator; without a seed every generation draws its own."""
        self._sampling = sampling
        self._generator = torch.Generator(device=device)
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def pick(self, logits: torch.Tensor) -> int:
        """Pick a token.

        Args:
            logits: [vocabulary], finite or -inf.
        """
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        probabilities = distribution(logits, self._sampling)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities [vocabulary] after temperature, top-k and top-p, in this order, as transformers applies them."""
    # The largest is subtracted first: divided by a tiny temperature it would overflow.
    scores = (logits - logits.max()).to(torch.float64) / sampling.temperature
    if 0 < sampling.top_k < scores.numel():
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1:
        scores = _nucleus(scores, sampling.top_p)
    return scores.softmax(-1)


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest set of likeliest tokens that has at least this probability (Holtzman et al., 2020)."""
    ordered, order = scores.sort(descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    dropped = order[before >= top_p]
    return scores.index_fill(0, dropped, -torch.inf)
