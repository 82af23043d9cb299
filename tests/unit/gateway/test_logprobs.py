"""Logprobs in OpenAI's two shapes, held against its own types."""

import math

from openai.types.chat.chat_completion import ChoiceLogprobs
from openai.types.completion_choice import Logprobs

from gateway.mapping.logprobs import chat_logprobs, completion_logprobs
from tenon.inference.v1 import inference_pb2 as pb

HALF = "悟".encode()[:2]
TOKENS = [
    pb.TokenLogprob(
        token=pb.TokenLikelihood(token_id=1, text=b"a", logprob=-0.5),
        top=[pb.TokenLikelihood(token_id=2, text=HALF, logprob=-0.1), pb.TokenLikelihood(token_id=9, logprob=-9)],
    ),
    pb.TokenLogprob(token=pb.TokenLikelihood(token_id=2, text=HALF, logprob=-math.inf), text_offset=1),
]


def test_as_chats_have_it() -> None:
    told = chat_logprobs(pb.GenerateRequest(logprobs=2), TOKENS)
    assert told is not None
    read = ChoiceLogprobs.model_validate(told.model_dump())
    assert read.content is not None
    first, second = read.content
    assert (first.token, first.bytes, first.logprob) == ("a", [97], -0.5)
    assert [(top.token, top.bytes) for top in first.top_logprobs] == [("bytes:\\xe6\\x82", list(HALF)), ("", [])]
    assert second.top_logprobs == []


def test_as_plain_completions_have_it() -> None:
    told = completion_logprobs(pb.GenerateRequest(logprobs=2), TOKENS)
    assert told is not None
    read = Logprobs.model_validate(told.model_dump())
    assert (read.tokens, read.text_offset) == (["a", "bytes:\\xe6\\x82"], [0, 1])
    assert read.token_logprobs is not None
    assert read.token_logprobs[0] == -0.5
    assert read.top_logprobs == [{"bytes:\\xe6\\x82": -0.1, "": -9.0}, {}]


def test_no_more_than_was_asked_for() -> None:
    plain = completion_logprobs(pb.GenerateRequest(logprobs=0), TOKENS)
    assert plain is not None
    assert plain.top_logprobs is None
    assert chat_logprobs(pb.GenerateRequest(), TOKENS) is None
    assert completion_logprobs(pb.GenerateRequest(), TOKENS) is None


def test_logprobs_are_numbers_of_json() -> None:
    """A token of no probability at all has a logarithm that JSON cannot write."""
    told = chat_logprobs(pb.GenerateRequest(logprobs=0), TOKENS)
    assert told is not None
    assert all(math.isfinite(token.logprob) for token in told.content)
