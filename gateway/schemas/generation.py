"""Requests for answers: chat and plain completions. Fields are those of OpenAI's API unless they say otherwise."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import MAX_INT32, MAX_INT64, Accepted, Hint, Only
from gateway.schemas.messages import MAX_TOOLS, Message, Tool, ToolChoice, none_as_empty

MAX_STOPS = 16
MAX_CHOICES = 16
MAX_LOGPROBS = 20
_TOKEN_ID = re.compile("[0-9]{1,9}")


def _texts(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _prompt(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
        return texts[0]
    raise PydanticCustomError("prompt_type", "must be one text; several prompts and token ids are not supported")


def _biases(value: Any) -> Any:
    """JSON has texts for keys; they are token ids."""
    if value is None:
        return {}
    if isinstance(value, dict) and all(isinstance(key, str) and _TOKEN_ID.fullmatch(key) for key in value):
        return {int(key): bias for key, bias in value.items()}
    raise PydanticCustomError("logit_bias", "must be an object that has token ids for keys, such as 50256")


Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(Accepted):
    """How to stream."""

    include_usage: bool = Field(False, description="Count the tokens in a last piece.")
    include_obfuscation: Annotated[Any, Only((False,))] = None


class NamedSchema(Accepted):
    """A JSON schema; name and description are for people."""

    name: str = Field("", max_length=256, description="For people.")
    description: str | None = Field(None, description="For people.")
    schema_: dict[str, Any] | bool = Field(alias="schema", description="The JSON schema.")
    strict: bool | None = Field(None, description="Answers follow the schema always, whatever is said here.")


class ResponseFormat(Accepted):
    """What the answer must look like: any text, any JSON object, or JSON that a schema allows."""

    type: Literal["text", "json_object", "json_schema"] = Field(description="Any text, any JSON object, or a schema.")
    json_schema: NamedSchema | None = Field(None, description="The schema, where type is json_schema.")

    @model_validator(mode="after")
    def _as_the_type_says(self) -> Self:
        if (self.type == "json_schema") is (self.json_schema is None):
            raise PydanticCustomError("json_schema", "has json_schema where its type is json_schema, and nowhere else")
        return self


class Generation(Accepted):
    """What chat and plain completions have in common."""

    model: str = Field(max_length=512, description="A base, an adapter, adapter:alias, adapter@version, or base/ID.")
    base_model: str | None = Field(
        None, max_length=256, description="Tenon's own: the base expected; another one is an adapter_base_mismatch."
    )
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 always takes the likeliest token; left out, as the base's own settings say."
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Only the likeliest tokens that make up this share; left out, as the base's own settings say.",
    )
    top_k: int | None = Field(None, ge=0, le=MAX_INT32, description="Tenon's own: the likeliest tokens; 0 means all.")
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Tenon's own: only tokens at least this likely, as a share of the likeliest one's.",
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Above 0, a token becomes less likely each time it is in the answer."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Above 0, a token becomes less likely once it is in the answer."
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=10, description="Tenon's own: above 1, tokens of prompt and answer become less likely."
    )
    logit_bias: Annotated[dict[int, Bias], BeforeValidator(_biases, json_schema_input_type=dict[str, float] | None)] = (
        Field(default_factory=dict, max_length=1024, description="Added to the logits of tokens, by their ids.")
    )
    seed: int | None = Field(
        None, ge=-MAX_INT64, le=MAX_INT64, description="Answer i of several is drawn with seed + i."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="How many answers.")
    regex: str | None = Field(
        None, min_length=1, max_length=8192, description="Tenon's own: what the whole answer must match."
    )
    choice: list[str] | None = Field(
        None, min_length=1, max_length=1024, description="Tenon's own: texts of which the answer is one."
    )
    max_tokens: int | None = Field(
        None, ge=1, le=MAX_INT32, description="Left out: 512, cut to what the context leaves."
    )
    stop: Annotated[
        list[str], Field(max_length=MAX_STOPS), BeforeValidator(_texts, json_schema_input_type=str | list[str] | None)
    ] = Field(default_factory=list, description="Where the answer ends, without the text itself.")
    stream: bool | None = Field(None, description="Answer in pieces, as server-sent events; the last one is [DONE].")
    stream_options: StreamOptions | None = Field(None, description="How to stream.")
    response_format: ResponseFormat | None = Field(None, description="What the answer must look like.")
    user: Hint = None


class ChatRequest(Generation):
    """A conversation to go on with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "wukong", "messages": [{"role": "user", "content": "你是谁?"}], "temperature": 0}]
        }
    )

    messages: list[Message] = Field(min_length=1, description="The conversation so far.")
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_INT32, description="The newer name of max_tokens.")
    logprobs: bool | None = Field(None, description="Tell how likely each token of the answer was.")
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS, description="Needs logprobs.")
    tools: Annotated[
        list[Tool],
        Field(max_length=MAX_TOOLS),
        BeforeValidator(none_as_empty, json_schema_input_type=list[Tool] | None),
    ] = Field(default_factory=list, description="Functions; the base's chat template must know tools.")
    tool_choice: ToolChoice | None = Field(None, description="Left out: auto. required and a name are kept always.")
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call in an answer.")
    functions: Annotated[Any, Only(([],))] = None
    function_call: Annotated[Any, Only(("none", "auto"))] = None
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

    @field_validator("top_logprobs")
    @classmethod
    def _top_of_something(cls, value: int | None, told: ValidationInfo) -> int | None:
        if value and not told.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "needs logprobs to be true")
        return value


class CompletionRequest(Generation):
    """A text to go on with, taken as it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "bank-codes", "prompt": "Deutsche Bank Berlin: ", "max_tokens": 16}]}
    )

    prompt: Annotated[str, BeforeValidator(_prompt, json_schema_input_type=str | list[str])] = Field(
        description="The text, or a list of it alone."
    )
    best_of: Annotated[Any, Only((1,))] = None
    echo: Annotated[Any, Only((False,))] = None
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS, description="Likeliest tokens told with each token.")
    suffix: Annotated[Any, Only(("",))] = None
