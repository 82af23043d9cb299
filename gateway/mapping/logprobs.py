"""How likely tokens were, in OpenAI's two shapes."""

from collections.abc import Sequence
from typing import Final

from gateway.schemas.answers import ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob
from tenon.inference.v1 import inference_pb2

Tokens = Sequence[inference_pb2.TokenLogprob]

_LEAST: Final = -9999.0
"""What OpenAI writes for a token of no probability: JSON has no infinity."""


def chat_logprobs(request: inference_pb2.GenerateRequest, tokens: Tokens) -> ChatLogprobs | None:
    """As chats have it; None where the request does not ask."""
    if not request.HasField("logprobs"):
        return None
    return ChatLogprobs(content=[_token(told) for told in tokens])


def completion_logprobs(request: inference_pb2.GenerateRequest, tokens: Tokens) -> CompletionLogprobs | None:
    """As plain completions have it; None where the request does not ask."""
    if not request.HasField("logprobs"):
        return None
    top = [{_text(likely): _finite(likely.logprob) for likely in told.top} for told in tokens]
    return CompletionLogprobs(
        tokens=[_text(told.token) for told in tokens],
        token_logprobs=[_finite(told.token.logprob) for told in tokens],
        top_logprobs=top if request.logprobs else None,
        text_offset=[told.text_offset for told in tokens],
    )


def _token(told: inference_pb2.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(
        **_likelihood(told.token).model_dump(), top_logprobs=[_likelihood(likely) for likely in told.top]
    )


def _likelihood(likely: inference_pb2.TokenLikelihood) -> TopLogprob:
    return TopLogprob(token=_text(likely), bytes=list(likely.text), logprob=_finite(likely.logprob))


def _text(likely: inference_pb2.TokenLikelihood) -> str:
    """A token's text; bytes that are no whole character are written out, as OpenAI does, so that none equals another."""
    try:
        return likely.text.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in likely.text)


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
