"""What a request becomes before the engine sees it."""

import math
from typing import Any

import pytest

from services.common.errors import DomainError
from services.inference.constraints.kinds import Choice, JsonSchema, Unsaid
from services.inference.engine.protocol import Sampling
from services.inference.model import GenerationRequest, SamplingWish
from services.inference.prompt import check_request, sampling


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
        (SamplingWish(top_k=0, top_p=0.5, seed=3), {"do_sample": True}, Sampling(1.0, 0.5, 0, seed=3)),
    ],
)
def test_the_caller_decides_then_the_base_then_greedily(
    wish: SamplingWish, defaults: dict[str, object], expected: Sampling
) -> None:
    assert sampling(wish, defaults) == expected


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (SamplingWish(min_p=math.nan), "sampling.min_p"),
        (SamplingWish(min_p=1.1), "sampling.min_p"),
        (SamplingWish(repetition_penalty=0), "sampling.repetition_penalty"),
        (SamplingWish(repetition_penalty=math.inf), "sampling.repetition_penalty"),
        (SamplingWish(presence_penalty=-2.1), "sampling.presence_penalty"),
        (SamplingWish(frequency_penalty=math.nan), "sampling.frequency_penalty"),
        (SamplingWish(logit_bias={1: math.nan}), "sampling.logit_bias"),
        (SamplingWish(logit_bias=dict.fromkeys(range(1025), 0.0)), "sampling.logit_bias"),
    ],
    ids=range(8),
)
def test_penalties_and_biases_out_of_range_are_named(wish: SamplingWish, field: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_request(GenerationRequest("baseModels/b", prompt="x", sampling=wish))
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -3.0])
@pytest.mark.parametrize(
    "name", ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"]
)
def test_what_is_no_number_is_named(name: str, value: float) -> None:
    change: dict[str, Any] = {name: value}
    wish = SamplingWish(**change)
    with pytest.raises(DomainError) as caught:
        check_request(GenerationRequest("baseModels/b", prompt="x", sampling=wish))
    assert [violation.field for violation in caught.value.violations] == [f"sampling.{name}"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": -1}, "n"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"constraint": Unsaid()}, "constraint"),
        ({"constraint": JsonSchema("{")}, "constraint.json_schema"),
        ({"constraint": Choice(("",))}, "constraint.choice"),
    ],
    ids=range(8),
)
def test_answers_logprobs_and_constraints_out_of_range_are_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_request(GenerationRequest("baseModels/b", prompt="x", **change))
    assert [violation.field for violation in caught.value.violations] == [field]


def test_penalties_and_biases_reach_the_engine() -> None:
    wish = SamplingWish(
        0.5, min_p=0.1, repetition_penalty=1.2, presence_penalty=1, frequency_penalty=-1, logit_bias={3: 2}
    )
    found = sampling(wish, {})
    assert (found.min_p, found.repetition_penalty, found.presence_penalty) == (0.1, 1.2, 1)
    assert (found.frequency_penalty, found.logit_bias) == (-1, {3: 2})
