"""Conversations and the functions in them, and the calls that come back."""

import json
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from gateway.schemas.answers import CalledFunction, CallPiece, FunctionPiece, ToolCall
from gateway.schemas.generation import ChatRequest
from gateway.schemas.messages import Message, NamedTool, Tool, ToolChoice
from tenon.inference.v1 import inference_pb2

# OpenAI's newer name; templates know the older one.
_ROLES: Final = MappingProxyType({"developer": "system"})
_MODES: Final = MappingProxyType(
    {
        None: inference_pb2.ToolChoice.MODE_AUTO,
        "auto": inference_pb2.ToolChoice.MODE_AUTO,
        "none": inference_pb2.ToolChoice.MODE_NONE,
        "required": inference_pb2.ToolChoice.MODE_REQUIRED,
    }
)


def conversation(chat: ChatRequest) -> inference_pb2.Conversation:
    """Read a conversation, and the functions that there are."""
    return inference_pb2.Conversation(
        messages=map(_message, chat.messages),
        tools=map(_tool, chat.tools),
        tool_choice=_choice(chat.tool_choice),
        single_tool_call=chat.parallel_tool_calls is False,
    )


def tool_calls(calls: Iterable[inference_pb2.ToolCall]) -> list[ToolCall] | None:
    """Write the calls of an answer; None where there are none."""
    written = [
        ToolCall(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments)) for call in calls
    ]
    return written or None


def call_pieces(deltas: Iterable[inference_pb2.ToolCallDelta]) -> list[CallPiece] | None:
    """Write pieces of calls; None where there are none."""
    pieces = [
        CallPiece(
            index=delta.index,
            id=delta.id or None,
            type="function" if delta.id else None,
            function=FunctionPiece(name=delta.name or None, arguments=delta.arguments),
        )
        for delta in deltas
    ]
    return pieces or None


def _choice(choice: ToolChoice | None) -> inference_pb2.ToolChoice:
    if isinstance(choice, NamedTool):
        return inference_pb2.ToolChoice(function=choice.function.name)
    return inference_pb2.ToolChoice(mode=_MODES[choice])


def _message(message: Message) -> inference_pb2.ChatMessage:
    return inference_pb2.ChatMessage(
        role=_ROLES.get(message.role, message.role),
        parts=[inference_pb2.ContentPart(text=part.text) for part in message.content],
        tool_calls=[
            inference_pb2.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls
        ],
        tool_call_id=message.tool_call_id or "",
    )


def _tool(tool: Tool) -> inference_pb2.Tool:
    function = tool.function
    return inference_pb2.Tool(
        name=function.name,
        description=function.description or "",
        parameters_json_schema="" if function.parameters is None else json.dumps(function.parameters),
    )
