"""Several answers, logprobs and constraints by gRPC, unary and streamed."""

import asyncio
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from jsonschema import Draft202012Validator

from services.common.errors import Reason
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite, prompt
from tests.support.tiny_bases import make_tiny_base

HOT = pb.SamplingParameters(temperature=2, seed=11)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["glad", "sad"]}, "score": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["mood", "score"],
    "additionalProperties": False,
}


async def test_answers_are_those_of_their_seeds(suite: Suite, wukong: str) -> None:
    together = await suite.ask(wukong, n=4, sampling=HOT)
    alone = [
        await suite.ask(wukong, sampling=pb.SamplingParameters(temperature=2, seed=HOT.seed + index))
        for index in range(4)
    ]
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in together.choices] == [answer.text for answer in alone]
    assert len({choice.text for choice in together.choices}) == 4
    assert (together.text, together.finish_reason) == (together.choices[0].text, together.choices[0].finish_reason)
    assert together.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert together.usage.completion_tokens == sum(answer.usage.completion_tokens for answer in alone)


async def test_answers_at_temperature_zero_are_equal(suite: Suite, qwen: Base) -> None:
    answer = await suite.ask(qwen[0], n=3)
    assert {choice.text for choice in answer.choices} == {answer.text}


async def test_a_stream_of_answers_comes_interleaved_and_is_the_unary_one(suite: Suite, wukong: str) -> None:
    fields: dict[str, Any] = {"n": 4, "sampling": HOT, "max_tokens": 30, "logprobs": 2, "stop": ["e", "zz"]}
    whole = await suite.ask(wukong, **fields)
    pieces = await suite.stream(wukong, **fields)
    for choice in whole.choices:
        mine = [piece for piece in pieces if piece.choice_index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert [piece.finish_reason for piece in mine if piece.finish_reason] == [choice.finish_reason]
        assert mine[-1].finish_reason
        assert_told_alike([told for piece in mine for told in piece.logprobs], choice.logprobs)
        sent = 0
        for piece in mine:
            # Random models write tokens without any text, even at the very end.
            end = sent + len(piece.text) + bool(piece.finish_reason)
            assert all(sent <= told.text_offset < end for told in piece.logprobs)
            sent += len(piece.text)
    assert [piece.HasField("identity") for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.HasField("usage") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].usage == whole.usage
    first_end = next(at for at, piece in enumerate(pieces) if piece.finish_reason)
    assert {piece.choice_index for piece in pieces[: first_end + 1]} != {pieces[0].choice_index}


def assert_told_alike(found: Sequence[pb.TokenLogprob], want: Sequence[pb.TokenLogprob]) -> None:
    """The same tokens at the same places; kernels differ by who else is in the batch, so logprobs do in their last digits."""

    def tokens(told: pb.TokenLogprob) -> list[pb.TokenLikelihood]:
        return [told.token, *told.top]

    assert [told.text_offset for told in found] == [told.text_offset for told in want]
    for one, other in zip(found, want, strict=True):
        assert [(of.token_id, of.text) for of in tokens(one)] == [(of.token_id, of.text) for of in tokens(other)]
        assert [of.logprob for of in tokens(one)] == pytest.approx([of.logprob for of in tokens(other)], abs=1e-4)


async def test_logprobs_are_the_models_own_whatever_changes_the_choice(suite: Suite, qwen: Base) -> None:
    greedy = (await suite.ask(qwen[0], logprobs=3)).choices[0]
    for told in greedy.logprobs:
        assert (told.token.token_id, told.token.logprob) == (told.top[0].token_id, told.top[0].logprob)
        assert len(told.top) == 3
        assert told.top[0].logprob >= told.top[1].logprob >= told.top[2].logprob
    first = greedy.logprobs[0]
    pushed = pb.SamplingParameters(logit_bias={first.top[1].token_id: 100}, repetition_penalty=1.3, temperature=0)
    other = (await suite.ask(qwen[0], logprobs=20, sampling=pushed)).choices[0].logprobs[0]
    assert other.token.token_id == first.top[1].token_id
    assert other.token.logprob == pytest.approx(first.top[1].logprob)
    assert sum(math.exp(likely.logprob) for likely in other.top) <= 1 + 1e-6


async def test_told_tokens_are_the_answer(suite: Suite, qwen: Base) -> None:
    """And none more: not the end token, nor what is cut off with a stop text."""
    whole = await suite.ask(qwen[0], max_tokens=40, logprobs=0)
    told = whole.choices[0].logprobs
    assert b"".join(item.token.text for item in told).decode(errors="replace") == whole.text
    assert not any(item.top for item in told)
    assert [item.text_offset for item in told] == sorted(item.text_offset for item in told)
    stop = whole.text[10:13]
    cut = await suite.ask(qwen[0], max_tokens=40, logprobs=0, stop=[stop])
    begin = whole.text.index(stop)
    assert list(cut.choices[0].logprobs) == [item for item in told if item.text_offset < begin]
    ended = await suite.ask(qwen[0], max_tokens=40, logprobs=0, stop_token_ids=[told[5].token.token_id])
    first = next(at for at, item in enumerate(told) if item.token.token_id == told[5].token.token_id)
    assert list(ended.choices[0].logprobs) == list(told[:first])
    assert not (await suite.ask(qwen[0])).choices[0].logprobs


async def test_constrained_answers_fit(suite: Suite, wukong: str, gpt2: Base) -> None:
    constraint = pb.Constraint(json_schema=json.dumps(SCHEMA))
    for model in (wukong, gpt2[0]):
        answer = await suite.ask(model, n=8, constraint=constraint, sampling=HOT, max_tokens=400, logprobs=0)
        for choice in answer.choices:
            if choice.finish_reason == pb.FINISH_REASON_STOP:
                Draft202012Validator(SCHEMA).validate(json.loads(choice.text))
                assert b"".join(item.token.text for item in choice.logprobs).decode() == choice.text
        assert any(choice.finish_reason == pb.FINISH_REASON_STOP for choice in answer.choices)


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (pb.Constraint(regex="[a-f]{3,5}!"), "[a-f]{3,5}!"),
        (pb.Constraint(choice=pb.Constraint.Choices(texts=["red", "green", "悟空"])), "red|green|悟空"),
    ],
    ids=["regex", "choice"],
)
async def test_constraints_hold_in_streams_too(
    constraint: pb.Constraint, pattern: str, suite: Suite, qwen: Base
) -> None:
    pieces = await suite.stream(qwen[0], n=5, constraint=constraint, sampling=HOT, max_tokens=30)
    for index in range(5):
        assert re.fullmatch(pattern, "".join(piece.text for piece in pieces if piece.choice_index == index))


async def test_a_constraint_and_stops_together(suite: Suite, qwen: Base) -> None:
    """A stop text cuts the answer off; a stop token may only come where the text may end."""
    numbers = pb.Constraint(regex="[0-9]{6}(x[0-9]{6})?")
    cut = await suite.ask(qwen[0], constraint=numbers, sampling=HOT, stop=["1", "2", "3", "4", "5"], max_tokens=30)
    assert set(cut.text) <= set("0x6789")
    (digit,) = {item.token.token_id for item in (await digits(suite, qwen)).logprobs}
    stopped = await suite.ask(qwen[0], constraint=pb.Constraint(regex="[0-9]+"), stop_token_ids=[digit], max_tokens=9)
    assert stopped.finish_reason in {pb.FINISH_REASON_STOP, pb.FINISH_REASON_LENGTH}
    assert stopped.text.isdigit()
    assert "7" not in stopped.text


async def digits(suite: Suite, qwen: Base) -> pb.Choice:
    return (await suite.ask(qwen[0], constraint=pb.Constraint(regex="7{3}"), logprobs=0)).choices[0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": -1}, "n"),
        ({"n": 17}, "n"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"constraint": pb.Constraint()}, "constraint"),
        ({"constraint": pb.Constraint(json_schema="")}, "constraint.json_schema"),
        ({"constraint": pb.Constraint(json_schema='{"type": "strin"}')}, "constraint.json_schema"),
        (
            {"constraint": pb.Constraint(json_schema='{"minLength": 5, "maxLength": 2, "type": "string"}')},
            "constraint.json_schema",
        ),
        ({"constraint": pb.Constraint(json_schema='{"multipleOf": 123456789}')}, "constraint.json_schema"),
        ({"constraint": pb.Constraint(regex="(")}, "constraint.regex"),
        ({"constraint": pb.Constraint(regex="a{1000000}")}, "constraint.regex"),
        ({"constraint": pb.Constraint(choice=pb.Constraint.Choices())}, "constraint.choice"),
        ({"sampling": pb.SamplingParameters(temperature=math.nan)}, "sampling.temperature"),
        ({"sampling": pb.SamplingParameters(top_p=math.inf)}, "sampling.top_p"),
        ({"sampling": pb.SamplingParameters(top_k=-1)}, "sampling.top_k"),
        ({"sampling": pb.SamplingParameters(logit_bias={5: math.nan})}, "sampling.logit_bias"),
        ({"sampling": pb.SamplingParameters(logit_bias={320: 1})}, "sampling.logit_bias"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ],
    ids=range(18),
)
async def test_what_cannot_be_answered_is_named(fields: dict[str, Any], named: str, suite: Suite, qwen: Base) -> None:
    error = await suite.refusal(qwen[0], **fields)
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [named]
    assert (await suite.ask(qwen[0])).usage.completion_tokens == 12


async def test_if_one_answer_finds_no_place_none_is_given(start_inference: StartInference, qwen: Base) -> None:
    fresh = await start_inference(inference_queue_size=2, inference_batch_rows=1)
    want = (await fresh.ask(qwen[0])).text
    error = await fresh.refusal(qwen[0], n=8, max_tokens=400)
    assert error.reason is Reason.QUEUE_FULL
    assert error.retry_after
    async with asyncio.timeout(5):
        assert (await fresh.ask(qwen[0])).text == want


async def test_a_client_that_goes_away_frees_all_rows(
    start_inference: StartInference, suite: Suite, root: Path
) -> None:
    name, _ = await suite.add_base(make_tiny_base(root / "bases" / "many", context=30_000, seed=51))
    fresh = await start_inference(inference_queue_size=1, inference_batch_rows=4)
    await fresh.ask(name)
    async with aio.insecure_channel(fresh.address) as channel:
        call = InferenceServiceStub(channel).StreamGenerate(prompt(name, n=4, max_tokens=29_000, sampling=HOT))
        seen = set()
        async for piece in call:
            seen.add(piece.choice_index)
            if len(seen) == 4:
                break
    # Four rows and a place in the queue: with any of them taken one of these would be refused, or wait for minutes.
    async with asyncio.timeout(10):
        while True:
            found = await asyncio.gather(*(fresh.ask(name) for _ in range(5)), return_exceptions=True)
            if not any(isinstance(one, Exception) for one in found):
                break
            await asyncio.sleep(0.02)
    loaded = await fresh.inference.UnloadModel(pb.UnloadModelRequest(model=name), timeout=10)
    assert loaded.unloaded
