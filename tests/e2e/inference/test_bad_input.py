"""What a caller might send: a typed error that names the field, or an answer; and the engine answers the next one as before."""

import asyncio
import math
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from services.common.errors import DomainError, Reason
from tenon.inference.v1 import inference_pb2 as pb
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import Suite, conversation

BAD: Final = [
    *product(["temperature", "top_p", "min_p", "repetition_penalty"], [math.nan, math.inf, -math.inf, -1.0, 1e308]),
    *product(["presence_penalty", "frequency_penalty"], [math.nan, math.inf, -math.inf, -2.5, 1e308]),
    ("top_p", 0.0),
    ("repetition_penalty", 0.0),
    ("top_k", -(2**31)),
]

CONTRADICTIONS: Final = [
    '{"type": "integer", "minimum": 5, "maximum": 4}',
    '{"allOf": [{"type": "string"}, {"type": "integer"}]}',
    '{"type": "string", "const": 5}',
    '{"type": "object", "properties": {"a": false}, "required": ["a"]}',
    '{"enum": []}',
    "false",
    '{"$ref": "#/$defs/nobody"}',
    '{"type": "string", "pattern": "("}',
    "[" * 5000,
    "\ud83d\ude00",
    '{"multipleOf": 1e-300}',
    '{"minimum": 1e999, "maximum": -1e999, "type": "number"}',
]

EXTREMES: Final[list[dict[str, Any]]] = [
    {"sampling": pb.SamplingParameters(temperature=5e-324, top_p=5e-324, min_p=1.0, seed=2**63 - 1), "n": 16},
    {"sampling": pb.SamplingParameters(temperature=2.0, top_k=2**31 - 1, seed=-(2**63)), "logprobs": 20},
    {"sampling": pb.SamplingParameters(repetition_penalty=5e-324, presence_penalty=-2, frequency_penalty=-2)},
    {"sampling": pb.SamplingParameters(temperature=1.0, repetition_penalty=5e-324)},
    {"sampling": pb.SamplingParameters(logit_bias=dict.fromkeys(range(320), -100.0))},
    {"stop": ["\ufffd"] * 16, "stop_token_ids": range(64)},
]


@pytest.mark.parametrize(("field", "value"), BAD)
async def test_numbers_that_no_parameter_may_be(field: str, value: Any, suite: Suite, qwen: Base) -> None:
    before = await suite.ask(qwen[0])
    error = await suite.refusal(qwen[0], sampling=pb.SamplingParameters(**{field: value}))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [f"sampling.{field}"]
    assert (await suite.ask(qwen[0])).text == before.text


@pytest.mark.parametrize("schema", CONTRADICTIONS, ids=range(len(CONTRADICTIONS)))
async def test_schemas_that_nothing_fits(schema: str, suite: Suite, qwen: Base) -> None:
    text = schema.encode("utf-16", "surrogatepass").decode("utf-16")
    error = await suite.refusal(qwen[0], constraint=pb.Constraint(json_schema=text))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["constraint.json_schema"]


async def test_a_constraint_and_a_bias_against_it(suite: Suite, qwen: Base) -> None:
    """The bias makes the only answer unlikely, not impossible."""
    against = pb.SamplingParameters(logit_bias=dict.fromkeys(range(320), -100.0), temperature=1.0)
    answer = await suite.ask(
        qwen[0], constraint=pb.Constraint(choice=pb.Constraint.Choices(texts=["7"])), sampling=against
    )
    assert answer.text == "7"


@pytest.mark.parametrize("max_tokens", [513, 2**31 - 1])
async def test_more_tokens_than_there_is_context_for(max_tokens: int, suite: Suite, qwen: Base) -> None:
    error = await suite.refusal(qwen[0], max_tokens=max_tokens)
    assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED


@pytest.mark.parametrize("fields", EXTREMES, ids=range(len(EXTREMES)))
async def test_the_largest_and_smallest_that_are_allowed_are_answered(
    fields: dict[str, Any], suite: Suite, qwen: Base, wukong: str
) -> None:
    before = [(await suite.ask(model)).text for model in (qwen[0], wukong)]
    answer = await suite.ask(wukong, **fields)
    assert 1 <= answer.usage.completion_tokens <= 12 * 16
    assert all(math.isfinite(told.token.logprob) for choice in answer.choices for told in choice.logprobs)
    assert [(await suite.ask(model)).text for model in (qwen[0], wukong)] == before


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[99].content }}",
        "{{ 1 // 0 }}",
        "{{ nothing.at.all }}",
        "{{ messages | map('nobody') | list }}",
        "{{ 'x' * 10 ** 12 }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% include 'somebody' %}",
        "{{ strftime_now(5) }}",
        "{{ messages[0].content.format(1).nobody() }}",
        "{% break %}",
        "",
        "{{ '%d' % 'x' }}",
        "{{ messages | tojson(indent='x', separators=3) }}",
        "{{ 'x'.encode('nobody') }}",
    ],
)
async def test_templates_that_fail_are_the_callers_to_know(
    template: str, suite: Suite, qwen: Base, adapter_directory: Path
) -> None:
    # Where a manifest has no template the base's is used.
    chat = await suite.publish(adapter_directory, qwen, chat_template=template or "{{ '' }}")
    error = await suite.refusal(chat, conversation=conversation("hi"))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert (await suite.ask(chat)).text


async def test_bad_and_good_requests_at_once_do_not_meet(suite: Suite, qwen: Base, wukong: str) -> None:
    want = (await suite.ask(wukong)).text
    bad: list[dict[str, Any]] = [
        {"sampling": pb.SamplingParameters(temperature=math.nan)},
        {"constraint": pb.Constraint(regex="(")},
        {"text": "x" * 600},
        {"text": ""},
        {"max_tokens": 5000},
    ]
    found = await asyncio.gather(
        *(suite.ask(wukong, **(bad[number // 2 % 5] if number % 2 else {})) for number in range(40)),
        return_exceptions=True,
    )
    assert all(isinstance(answer, DomainError) for answer in found[1::2])
    assert [getattr(answer, "text", answer) for answer in found[::2]] == [want] * 20
