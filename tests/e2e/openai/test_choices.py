"""Chats: several answers, logprobs and formats."""

import json
from typing import Any, Literal

import httpx2
import openai
import pydantic
import pytest
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletionTokenLogprob

pytestmark = pytest.mark.usefixtures("job_id")


HI: Any = [{"role": "user", "content": "hi"}]


HOT: Any = {"temperature": 1.5, "seed": 3}


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}


FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}


class Weather(pydantic.BaseModel):
    city: Literal["Paris", "Rome"]
    warm: bool


def test_several_answers(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=HI, n=3, max_tokens=8, **HOT)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    again = client.chat.completions.create(
        model="parrot", messages=HI, max_tokens=8, temperature=1.5, seed=HOT["seed"] + 2
    )
    assert again.choices[0].message.content == answer.choices[2].message.content


def test_several_answers_in_pieces(client: openai.OpenAI) -> None:
    options: Any = {"model": "parrot", "messages": HI, "n": 3, "max_tokens": 8, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**options, **HOT)
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options, **HOT))
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    pieces = [chunk.choices[0] for chunk in chunks[:-1]]
    for choice in whole.choices:
        mine = [piece for piece in pieces if piece.index == choice.index]
        assert mine[0].delta.role == "assistant"
        assert "".join(piece.delta.content or "" for piece in mine) == choice.message.content
        assert [piece.finish_reason for piece in mine if piece.finish_reason] == [choice.finish_reason]
        told = [token for piece in mine if piece.logprobs for token in piece.logprobs.content or []]
        assert choice.logprobs is not None
        expected = choice.logprobs.content or []
        assert [(token.token, token.bytes) for token in told] == [(token.token, token.bytes) for token in expected]
        # The rows that share a step are not the same both times, and kernels differ by their number.
        assert figures(told) == pytest.approx(figures(expected), abs=1e-4)


def figures(tokens: list[ChatCompletionTokenLogprob]) -> list[float]:
    return [f for token in tokens for f in (token.logprob, *(other.logprob for other in token.top_logprobs))]


def test_logprobs_of_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny-qwen", messages=HI, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0
    text = b"".join(bytes(token.bytes or []) for token in choice.logprobs.content)
    assert text.decode(errors="replace") == choice.message.content
    plain = client.chat.completions.create(model="tiny-qwen", messages=HI, max_tokens=6, temperature=0)
    assert plain.choices[0].logprobs is None


def test_answers_follow_a_json_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="parrot", messages=HI, n=6, max_tokens=300, response_format=FORMAT, **HOT
    )
    ended = [choice.message.content for choice in answer.choices if choice.finish_reason == "stop"]
    assert ended
    for text in ended:
        Draft202012Validator(SCHEMA).validate(json.loads(text or ""))


def test_openais_client_parses_what_it_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="parrot", messages=HI, response_format=Weather, max_tokens=400, temperature=0.5, seed=1
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


@pytest.mark.parametrize("stream", [False, True])
def test_a_regex_and_a_choice(client: openai.OpenAI, stream: bool) -> None:
    said: Any = [({"regex": "[a-f]{4}"}, {"abcdef"}), ({"choice": ["on", "off"]}, {"on", "off"})]
    for extra, allowed in said:
        if stream:
            chunks = client.chat.completions.create(
                model="tiny-qwen", messages=HI, stream=True, max_tokens=9, extra_body=extra
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            whole = client.chat.completions.create(model="tiny-qwen", messages=HI, max_tokens=9, extra_body=extra)
            text = whole.choices[0].message.content or ""
        assert text in allowed or (len(text) == 4 and set(text) <= set("abcdef"))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"min_p": 2}, "min_p"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": []}}}},
            "response_format.json_schema.schema",
        ),
        ({"regex": "("}, "regex"),
        ({"choice": [""]}, "choice"),
        ({"choice": ["a"], "regex": "a"}, "choice"),
        ({"grammar": "a"}, "grammar"),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_named(http: httpx2.Client, change: dict[str, Any], param: str, stream: bool) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "parrot", "messages": HI, "stream": stream, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_argument", param), answer.text


def test_numbers_that_are_none_are_refused(http: httpx2.Client) -> None:
    for text in ("NaN", "Infinity", "-1"):
        body = f'{{"model": "parrot", "messages": [{{"role": "user", "content": "x"}}], "temperature": {text}}}'
        answer = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temperature"), answer.text
