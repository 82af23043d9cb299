"""Messages of conversations and the functions in them. Fields are those of OpenAI's API unless they say otherwise."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import Accepted, Only

MAX_TOOLS = 128


class TextPart(Accepted):
    """A piece of text."""

    type: Literal["text"]
    text: str = Field(description="The text.")


def _parts(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list):
        return value
    raise PydanticCustomError("content_type", "must be a text or a list of text parts")


def none_as_empty(value: Any) -> Any:
    """Take null for a list of nothing."""
    return [] if value is None else value


Content = Annotated[list[TextPart], BeforeValidator(_parts, json_schema_input_type=str | list[TextPart] | None)]


class AskedFunction(Accepted):
    """What was called."""

    name: str = Field(max_length=64, description="Its name.")
    arguments: str = Field(description="A JSON object, written as JSON.")


class AskedCall(Accepted):
    """A call that an answer asked for, sent back as a part of the conversation."""

    id: str = Field(min_length=1, max_length=256, description="What its answer refers to.")
    type: Literal["function"] = "function"
    function: AskedFunction = Field(description="What was called, and with what.")


class Message(Accepted):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(description="Whose message it is.")
    content: Content = Field(default_factory=list, description="A text, or parts of one.")
    tool_calls: Annotated[
        list[AskedCall],
        Field(max_length=MAX_TOOLS),
        BeforeValidator(none_as_empty, json_schema_input_type=list[AskedCall] | None),
    ] = Field(default_factory=list, description="What a message of the assistant asked to call.")
    tool_call_id: str | None = Field(
        None, max_length=256, description="In a message of role tool: the call that it answers."
    )
    name: Annotated[Any, Only()] = None
    # What an answer of ours or OpenAI's carries when it is sent back as a part of the conversation.
    refusal: Annotated[Any, Only()] = None
    annotations: Annotated[Any, Only(([],))] = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None

    @model_validator(mode="after")
    def _as_the_role_says(self) -> Self:
        if (self.role == "tool") is (self.tool_call_id is None):
            raise PydanticCustomError("tool_call_id", "has tool_call_id where its role is tool, and nowhere else")
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("tool_calls", "has tool_calls where its role is assistant, and nowhere else")
        return self


class Function(Accepted):
    """A function that the model may ask to call."""

    name: str = Field(max_length=64, description="Letters, digits, _ and -.")
    description: str | None = Field(None, description="What it does; the model reads it.")
    parameters: dict[str, Any] | None = Field(
        None, description="JSON schema of the arguments, of type object; left out, there are none."
    )
    strict: bool | None = Field(None, description="Calls follow the schema always, whatever is said here.")


class Tool(Accepted):
    """What the model may use."""

    type: Literal["function"]
    function: Function = Field(description="What it may ask to call.")


class FunctionName(Accepted):
    """A function of tools."""

    name: str = Field(max_length=64, description="Its name.")


class NamedTool(Accepted):
    """The one that is called."""

    type: Literal["function"]
    function: FunctionName = Field(description="Which one.")


def _kind(choice: Any) -> str:
    return "mode" if isinstance(choice, str) else "named"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")] | Annotated[NamedTool, Tag("named")],
    Discriminator(_kind),
]
"""Whether functions are called, and which."""
