"""Chats: ``client.chat.completions`` of bases and adapters, whole and streamed."""

from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.gateway.stack import Stack, wait_for
from tests.support.tiny_bases import make_tiny_base

pytestmark = pytest.mark.usefixtures("job_id")


HI: Any = [{"role": "user", "content": "hi"}]


SETTINGS: Any = {"max_tokens": 6, "temperature": 0}


@pytest.mark.parametrize("model", ["tiny-qwen", "base/tiny-qwen", "parrot", "parrot:latest"])
def test_a_chat_is_answered_and_says_by_what(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HI, **SETTINGS)
    assert answer.model == model
    assert answer.choices[0].message.role == "assistant"
    assert isinstance(answer.choices[0].message.content, str)
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    extra = answer.model_extra or {}
    assert extra["tenon"]["base_model"] == "tiny-qwen"
    assert bool(extra["tenon"]["adapter_version"]) is ("parrot" in model)
    assert extra["tenon"]["provenance"] == ("witnessed" if "parrot" in model else None)


@pytest.mark.parametrize("model", ["tiny-qwen", "parrot"])
def test_a_stream_says_the_same_piece_by_piece(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=HI, **SETTINGS)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HI, stream=True, stream_options={"include_usage": True}, **SETTINGS
        )
    )
    first, *middle, last, counted = chunks
    assert first.choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in middle)
    assert text == whole.choices[0].message.content
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert (counted.choices, counted.usage) == ([], whole.usage)
    assert {chunk.id for chunk in chunks} == {first.id}


def test_a_stream_ends_with_done_and_counts_only_if_asked(http: httpx2.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "parrot", "messages": HI, "stream": True, **SETTINGS})
    assert answer.text.endswith("data: [DONE]\n\n")
    assert '"usage":{' not in answer.text


def test_an_adapter_is_refused_on_another_base_before_anything_is_streamed(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="parrot", messages=HI, stream=stream, extra_body={"base_model": "tiny-gpt"}
            )
        assert caught.value.code == "adapter_base_mismatch"
        assert "tiny-gpt" in caught.value.message
        assert "tiny-qwen" in caught.value.message


def test_the_base_expected_is_accepted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="parrot", messages=HI, extra_body={"base_model": "tiny-qwen"}, **SETTINGS
    )
    assert answer.choices


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"model": "base/nobody"}, 404, "base_model_not_found"),
        ({"model": "nobody:latest"}, 404, "adapter_not_found"),
        ({"model": "parrot:nobody"}, 404, "alias_not_found"),
        ({"model": f"parrot@{'0' * 64}"}, 404, "adapter_version_not_found"),
        ({"model": "parrot@0"}, 400, "invalid_argument"),
        ({"model": "tiny-gpt"}, 400, "chat_template_missing"),
        ({"messages": [{"role": "user", "content": "long " * 900}]}, 400, "context_length_exceeded"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "invalid_argument"),
        ({"wings": 2}, 400, "invalid_argument"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_answered_is_refused_with_a_status(
    http: httpx2.Client, change: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "parrot", "messages": HI, "stream": stream, **change})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_a_client_that_goes_away_stops_the_generation(stack: Stack) -> None:
    # Its context leaves room for an answer that would take minutes, unless it drew its end of a turn.
    stack.add_base("tiny-wide", make_tiny_base(stack.root / "tiny-wide", "qwen2", seed=3, context=16_384))
    log = stack.log("inference")
    before = log.read_text().count("code=CANCELLED")
    body = {"model": "tiny-wide", "messages": HI, "stream": True, "max_tokens": 16_000, "logit_bias": {"2": -100}}
    with stack.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    wait_for(lambda: log.read_text().count("code=CANCELLED") > before, "cancellation in inference", 10)
