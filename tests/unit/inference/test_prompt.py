"""What a request becomes before the engine sees it."""

import math

import pytest

from services.inference.engine.protocol import Sampling
from services.inference.model import SamplingWish
from services.inference.prompt import sampling


@pytest.mark.parametrize(
    ("wish", "defaults", "expected"),
    [
        (SamplingWish(), {}, Sampling()),
        (SamplingWish(), {"temperature": 0.7, "top_p": 0.8}, Sampling()),
        (SamplingWish(), {"do_sample": False, "temperature": 0.7}, Sampling()),
        (SamplingWish(), {"do_sample": True}, Sampling(1.0, 1.0, 50)),
        (SamplingWish(), {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}, Sampling(0.7, 0.8, 20)),
        (SamplingWish(), {"do_sample": True, "temperature": None, "top_k": "x", "top_p": 7}, Sampling(1.0, 1.0, 50)),
        (SamplingWish(), {"do_sample": True, "temperature": math.nan, "top_p": 0}, Sampling(1.0, 1.0, 50)),
        (SamplingWish(temperature=0), {"do_sample": True, "top_k": 20}, Sampling(0, 1.0, 20)),
        (SamplingWish(temperature=0.5), {}, Sampling(0.5)),
        (SamplingWish(top_k=0, top_p=0.5, seed=3), {"do_sample": True}, Sampling(1.0, 0.5, 0, 3)),
    ],
)
def test_the_caller_decides_then_the_base_then_greedily(
    wish: SamplingWish, defaults: dict[str, object], expected: Sampling
) -> None:
    assert sampling(wish, defaults) == expected
