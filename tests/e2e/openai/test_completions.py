"""Plain completions: ``client.completions``."""

from typing import Any

import openai
import pytest

SETTINGS: Any = {"max_tokens": 6, "temperature": 0}


def test_a_plain_completion(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="tiny-gpt", prompt="Once", **SETTINGS)
    pieces = list(client.completions.create(model="tiny-gpt", prompt="Once", stream=True, **SETTINGS))
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_logprobs_of_a_plain_completion(client: openai.OpenAI) -> None:
    options: Any = {"model": "tiny-gpt", "prompt": "Once", "max_tokens": 6, "temperature": 0, "logprobs": 2}
    logprobs = client.completions.create(**options).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens
    assert logprobs.token_logprobs
    assert logprobs.top_logprobs
    assert logprobs.text_offset
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    assert [max(top.values()) for top in logprobs.top_logprobs] == logprobs.token_logprobs
    pieces = [piece.choices[0].logprobs for piece in client.completions.create(stream=True, **options)]
    assert [token for piece in pieces if piece for token in piece.tokens or []] == logprobs.tokens
    assert [place for piece in pieces if piece for place in piece.text_offset or []] == logprobs.text_offset


def test_a_bias_and_penalties_change_the_answer(client: openai.OpenAI) -> None:
    options: Any = {"model": "tiny-gpt", "prompt": "Once", "max_tokens": 4, "temperature": 0}
    # The tiny tokenizers have their bytes from the fourth id on, in the order of the byte-level alphabet.
    biased = client.completions.create(logit_bias={"68": 100}, presence_penalty=-2, **options)
    assert biased.choices[0].text == "bbbb"
    plain = client.completions.create(**options)
    assert plain.choices[0].text != "bbbb"


def test_several_continuations_with_usage_and_a_stop(client: openai.OpenAI) -> None:
    options: Any = {"model": "tiny-gpt", "prompt": "Once", "n": 2, "seed": 3, "temperature": 1.5, "max_tokens": 6}
    whole = client.completions.create(**options)
    assert [choice.index for choice in whole.choices] == [0, 1]
    *pieces, counted = client.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    assert (counted.choices, counted.usage) == ([], whole.usage)
    for choice in whole.choices:
        mine = [piece.choices[0] for piece in pieces if piece.choices[0].index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
    text = client.completions.create(model="tiny-gpt", prompt="Once", max_tokens=6, temperature=0).choices[0].text
    cut = client.completions.create(model="tiny-gpt", prompt="Once", max_tokens=6, temperature=0, stop=text[2:4])
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (text[: text.index(text[2:4])], "stop")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"messages": []}, "messages"),
        ({"tools": []}, "tools"),
    ],
    ids=range(7),
)
def test_what_is_not_supported_is_named(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    body: Any = {"model": "tiny-gpt", "prompt": "Once", **change}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/completions", body=body, cast_to=object)
    assert (caught.value.code, caught.value.param) == ("invalid_argument", param)
