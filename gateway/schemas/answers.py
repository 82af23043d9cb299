"""Answers of models, whole and in pieces."""

from typing import Literal

from pydantic import Field

from gateway.schemas.adapters import Provenance
from gateway.schemas.common import Answered, is_none

FinishReason = Literal["stop", "length", "tool_calls"]


class Usage(Answered):
    """Tokens counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Identity(Answered):
    """Which weights answered."""

    base_model: str
    base_fingerprint_id: str = Field(description="Recomputed from the bytes that were loaded.")
    adapter_version: str | None = Field(description="adapter@version; null for the base alone.")
    provenance: Provenance | None = Field(
        description="Who vouches that the adapter was trained on this base; null for the base alone."
    )


class TopLogprob(Answered):
    """A token that was likely in a place of an answer, or the one that is there."""

    token: str = Field(description="Its text; what is no whole character is shown as one that nobody can mistake.")
    bytes: list[int] = Field(description="Its text in UTF-8.")
    logprob: float


class TokenLogprob(TopLogprob):
    """A token of an answer."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Answered):
    """The tokens of an answer of a chat, or of a piece of it."""

    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(Answered):
    """The tokens of a continuation, or of a piece of it: lists of the same length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None = Field(description="Null where none were asked for.")
    text_offset: list[int] = Field(description="Where each begins in the continuation, in characters.")


class CalledFunction(Answered):
    """What the model asks to call."""

    name: str
    arguments: str = Field(description="A JSON object, written as JSON; cut off where the answer is.")


class ToolCall(Answered):
    """A call that the model asks for."""

    id: str = Field(description="What the message of role tool that answers it refers to.")
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(Answered):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="Null where there are calls and no text.")
    refusal: None = None
    tool_calls: list[ToolCall] | None = Field(None, exclude_if=is_none, description="Left out where there are none.")


class ChatChoice(Answered):
    """One answer of a chat."""

    index: int = 0
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Answered):
    """A chat's answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    tenon: Identity


class CompletionChoice(Answered):
    """One continuation."""

    index: int = 0
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None


class Completion(Answered):
    """A continuation of a prompt; a stream's pieces look the same."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None
    tenon: Identity


class FunctionPiece(Answered):
    """A piece of what the model asks to call."""

    name: str | None = Field(exclude_if=is_none, description="In a call's first piece only.")
    arguments: str


class CallPiece(Answered):
    """A piece of a call."""

    index: int = Field(description="Which call of the answer.")
    id: str | None = Field(exclude_if=is_none, description="In a call's first piece only.")
    type: Literal["function"] | None = Field(exclude_if=is_none, description="In a call's first piece only.")
    function: FunctionPiece


class Delta(Answered):
    """What is new in a piece."""

    role: Literal["assistant"] | None = Field(None, exclude_if=is_none, description="In an answer's first piece only.")
    content: str | None = Field(None, exclude_if=is_none, description="The next piece of the text.")
    tool_calls: list[CallPiece] | None = Field(None, exclude_if=is_none, description="The next pieces of calls.")


class ChunkChoice(Answered):
    """A piece of an answer."""

    index: int = 0
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Answered):
    """A piece of a chat's answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    tenon: Identity
