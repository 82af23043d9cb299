"""Sampling: the distribution that transformers computes, repeatable picks."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from services.inference.engine.protocol import Sampling
from services.inference.engine.sampling import Sampler, distribution

CPU = torch.device("cpu")


def expected(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """transformers' own warpers, in its order."""
    scores = TemperatureLogitsWarper(sampling.temperature)(torch.empty(1, 0), logits[None].double())
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(torch.empty(1, 0), scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(torch.empty(1, 0), scores)
    return torch.as_tensor(scores).softmax(-1)[0]


@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.05, 2),
    top_k=st.sampled_from([0, 1, 5, 100]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
)
def test_distribution_is_that_of_transformers(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 3
    sampling = Sampling(temperature, top_p, top_k)
    torch.testing.assert_close(distribution(logits, sampling), expected(logits, sampling))


def test_temperature_zero_picks_the_likeliest() -> None:
    logits = torch.tensor([0.1, 3.0, -1.0])
    assert Sampler(Sampling(), CPU).pick(logits) == 1


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_tiny_temperatures_pick_the_likeliest_too(temperature: float) -> None:
    logits = torch.tensor([0.1, 3.0, -1.0, -torch.inf])
    assert Sampler(Sampling(temperature, seed=1), CPU).pick(logits) == 1


def test_picks_follow_the_distribution_and_repeat_with_the_seed() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    sampling = Sampling(1.0, seed=7)
    first, second = Sampler(sampling, CPU), Sampler(sampling, CPU)
    picks = [first.pick(logits) for _ in range(4000)]
    assert picks == [second.pick(logits) for _ in range(4000)]
    shares = torch.tensor([Counter(picks)[token] / 4000 for token in range(3)])
    assert torch.allclose(shares, logits.softmax(-1), atol=0.03)
