"""OpenAI chat: ``{messages: [{role, content}]}``, with an optional ``weight`` of 0 or 1 on the assistant's messages.

Source: https://platform.openai.com/docs/guides/supervised-fine-tuning
"""

from collections.abc import Mapping
from typing import Any, Final

from services.trainer.datasets.formats.fields import RowFields
from services.trainer.datasets.model import Conversation, Message, Role

ROLES: Final = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
"""Who is meant by which ``role``; "developer" is OpenAI's newer word for "system"."""


def read(fields: RowFields) -> Conversation | None:
    """Read a row; None if the roles cannot be told."""
    fields.absent(fields.row, ("tools", "functions"), "")
    messages = []
    for path, message in fields.objects("messages"):
        role = fields.role(message, "role", f"{path}.role", ROLES)
        if role is not None:
            messages.append((path, _message(fields, path, message, role)))
    if fields.faults:
        return None
    fields.check_turns(messages)
    return Conversation(tuple(message for _, message in messages))


def _message(fields: RowFields, path: str, message: Mapping[str, Any], role: Role) -> Message:
    fields.absent(message, ("tool_calls", "function_call", "audio"), f"{path}.")
    before = len(fields.faults)
    content = _content(fields, f"{path}.content", message)
    if role is not Role.SYSTEM and len(fields.faults) == before:
        fields.not_blank(content, f"{path}.content")
    return Message(role, content, supervised=_weight(fields, path, message, role) == 1)


def _content(fields: RowFields, path: str, message: Mapping[str, Any]) -> str:
    parts = message.get("content")
    if not isinstance(parts, list):
        return fields.text(message, "content", path)
    texts = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict) or part.get("type") != "text":
            fields.fault(f"{path}[{index}]", 'Only parts of the form {"type": "text", "text": …} are supported.')
        else:
            texts.append(fields.text(part, "text", f"{path}[{index}].text"))
    return "".join(texts)


def _weight(fields: RowFields, path: str, message: Mapping[str, Any], role: Role) -> int:
    weight = message.get("weight")
    if weight is None:
        return int(role is Role.ASSISTANT)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or weight not in {0, 1}:
        fields.fault(f"{path}.weight", "The weight must be 0 (do not learn this answer) or 1 (learn it).")
    elif weight and role is not Role.ASSISTANT:
        fields.fault(f"{path}.weight", f"Only the assistant's messages can be learnt; this one is the {role}'s.")
    return int(weight == 1)
