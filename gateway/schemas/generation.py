"""Requests for answers: chat and plain completions. Fields are those of OpenAI's API unless they say otherwise."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.schemas.common import MAX_INT32, MAX_INT64, Accepted, Hint, Only

MAX_STOPS = 16


class TextPart(Accepted):
    """A piece of text."""

    type: Literal["text"]
    text: str


def _parts(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list):
        return value
    raise PydanticCustomError("content_type", "must be a text or a list of text parts")


def _texts(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _prompt(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
        return texts[0]
    raise PydanticCustomError("prompt_type", "must be one text; several prompts and token ids are not supported")


Content = Annotated[list[TextPart], BeforeValidator(_parts, json_schema_input_type=str | list[TextPart] | None)]


class Message(Accepted):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content = Field(default_factory=list)
    name: Annotated[Any, Only()] = None
    # What an answer of ours or OpenAI's carries when it is sent back as a part of the conversation.
    refusal: Annotated[Any, Only()] = None
    annotations: Annotated[Any, Only(([],))] = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only(([],))] = None


class StreamOptions(Accepted):
    """How to stream."""

    include_usage: bool = False
    include_obfuscation: Annotated[Any, Only((False,))] = None


class Generation(Accepted):
    """What chat and plain completions have in common."""

    model: str = Field(max_length=512, description="A base, an adapter, adapter:alias, adapter@version, or base/ID.")
    base_model: str | None = Field(
        None, max_length=256, description="Tenon's own: the base expected; another one is an adapter_base_mismatch."
    )
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_INT32, description="Tenon's own: the likeliest tokens; 0 means all.")
    seed: int | None = Field(None, ge=-MAX_INT64, le=MAX_INT64)
    max_tokens: int | None = Field(
        None, ge=1, le=MAX_INT32, description="Left out: 512, cut to what the context leaves."
    )
    stop: Annotated[
        list[str], Field(max_length=MAX_STOPS), BeforeValidator(_texts, json_schema_input_type=str | list[str] | None)
    ] = Field(default_factory=list)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[Any, Only((1,))] = None
    frequency_penalty: Annotated[Any, Only((0,))] = None
    presence_penalty: Annotated[Any, Only((0,))] = None
    logit_bias: Annotated[Any, Only(({},))] = None
    user: Hint = None


class ChatRequest(Generation):
    """A conversation to go on with."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"model": "wukong", "messages": [{"role": "user", "content": "你是谁?"}], "temperature": 0}
        }
    )

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_INT32, description="The newer name of max_tokens.")
    logprobs: Annotated[Any, Only((False,))] = None
    top_logprobs: Annotated[Any, Only((0,))] = None
    tools: Annotated[Any, Only(([],))] = None
    tool_choice: Annotated[Any, Only(("none", "auto"))] = None
    parallel_tool_calls: Annotated[Any, Only((True, False))] = None
    functions: Annotated[Any, Only(([],))] = None
    function_call: Annotated[Any, Only(("none", "auto"))] = None
    response_format: Annotated[Any, Only(({"type": "text"},))] = None
    modalities: Annotated[Any, Only((["text"],))] = None
    audio: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only(("none",))] = None
    verbosity: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    service_tier: Annotated[Any, Only(("auto", "default"))] = None
    store: Annotated[Any, Only((False,))] = None
    metadata: Annotated[Any, Only(({},))] = None
    prompt_cache_key: Hint = None
    prompt_cache_options: Hint = None
    prompt_cache_retention: Hint = None
    safety_identifier: Hint = None


class CompletionRequest(Generation):
    """A text to go on with, taken as it is."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "bank-codes", "prompt": "Deutsche Bank Berlin: ", "max_tokens": 16}}
    )

    prompt: Annotated[str, BeforeValidator(_prompt, json_schema_input_type=str | list[str])]
    best_of: Annotated[Any, Only((1,))] = None
    echo: Annotated[Any, Only((False,))] = None
    logprobs: Annotated[Any, Only()] = None
    suffix: Annotated[Any, Only(("",))] = None
