"""What is wrong with functions and with calls in a conversation, as far as it can be told without a base."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from services.common.errors import Violation
from services.inference.constraints.schema import schema_fault
from services.inference.tools.kinds import Tool, ToolUse
from services.inference.tools.notation import FIELD

MAX_TOOLS: Final = 128
MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_SCHEMAS_BYTES: Final = 256 * 1024
"""Of all functions together."""
MAX_DESCRIPTION: Final = 16 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tool_faults(use: ToolUse, *, constrained: bool) -> Iterator[Violation]:
    """What must be mended about the functions, in sentences.

    Args:
        use: of the request.
        constrained: whether the request says what the answer must look like.
    """
    if len(use.tools) > MAX_TOOLS:
        yield Violation(FIELD, f"tools has {len(use.tools)} functions; at most {MAX_TOOLS} are allowed.")
        return
    if sum(len(tool.parameters.encode()) for tool in use.tools) > MAX_SCHEMAS_BYTES:
        yield Violation(FIELD, f"The schemas of tools have more than the {MAX_SCHEMAS_BYTES} bytes that are allowed.")
        return
    for index, tool in enumerate(use.tools):
        yield from _tool_faults(f"{FIELD}[{index}]", tool)
    names = [tool.name for tool in use.tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        yield Violation(FIELD, f"tools has two functions {twice!r}. Give each a name of its own.")
    if isinstance(use.choice, str) and use.choice not in names:
        yield Violation("conversation.tool_choice", f"tool_choice names {use.choice[:64]!r}, which is not in tools.")
    elif use.must_call and not use.tools:
        yield Violation("conversation.tool_choice", "tool_choice is required, and there are no tools. Send some.")
    if constrained and use.shown:
        yield Violation(
            FIELD, "tools cannot be held together with a constraint (response_format, regex, choice). Send one of them."
        )


def _tool_faults(field: str, tool: Tool) -> Iterator[Violation]:
    if not _NAME.fullmatch(tool.name):
        yield Violation(f"{field}.name", "The name of a function has 1 to 64 letters, digits, underscores and hyphens.")
    if len(tool.description) > MAX_DESCRIPTION:
        yield Violation(f"{field}.description", f"A description has at most {MAX_DESCRIPTION} characters.")
    if fault := parameters_fault(tool.parameters):
        yield Violation(f"{field}.parameters_json_schema", fault)


def parameters_fault(text: str) -> str | None:
    """A sentence on what is wrong with the schema of a function's arguments, or None."""
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        return f"parameters has more than the {MAX_SCHEMA_BYTES} bytes that are allowed."
    if fault := schema_fault(text):
        return fault.replace("json_schema", "parameters")
    schema = json.loads(text)
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return 'parameters is no schema of type object; arguments have names, so write {"type": "object", …}.'
    return None


def call_faults(messages: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """What must be mended about the calls in a conversation and their answers, in sentences."""
    asked: set[str] = set()
    for index, message in enumerate(messages):
        field = f"conversation.messages[{index}]"
        for place, call in enumerate(message.get("tool_calls", ())):
            asked.add(call["id"])
            if not isinstance(call["function"]["arguments"], dict):
                where = f"{field}.tool_calls[{place}].arguments"
                yield Violation(where, f"{where} is not a JSON object.")
        if message.get("tool_calls") and message["role"] != "assistant":
            yield Violation(f"{field}.tool_calls", "Only messages of the assistant have tool_calls.")
        answers = message.get("tool_call_id")
        if message["role"] == "tool" and answers not in asked:
            where = f"{field}.tool_call_id"
            yield Violation(where, f"{where} names no call of a message before it. Send the id that the call has.")
        elif message["role"] != "tool" and answers:
            yield Violation(f"{field}.tool_call_id", "Only messages of role tool have a tool_call_id.")
