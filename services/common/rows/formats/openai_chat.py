"""OpenAI chat: ``{messages: [{role, content}]}``, with an optional ``weight`` of 0 or 1 on the assistant's messages.

A ``system`` beside the messages, as some data sets have it, is the first of them.

Source: https://platform.openai.com/docs/guides/supervised-fine-tuning
"""

from collections.abc import Mapping
from typing import Any, Final

from services.common.rows.formats.fields import RowFields, place
from services.common.rows.model import Conversation, Message, Role

ROLES: Final = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
"""Who is meant by which ``role``; "developer" is OpenAI's newer word for "system"."""

_BESIDE_TEXT: Final = ("tool_calls", "function_call", "audio")


def read(fields: RowFields) -> Conversation | None:
    """Read a row; None if the roles cannot be told."""
    fields.absent(fields.row, ("tools", "functions"))
    messages = fields.system()
    for path, message in fields.objects("messages"):
        role = fields.role(message, "role", path + ".", ROLES)
        if role is not None:
            messages.append((path, _message(fields, path, message, role)))
    if fields.faults:
        return None
    fields.check_turns(messages)
    return Conversation(tuple([message for _, message in messages]))


def _message(fields: RowFields, path: str, message: Mapping[str, Any], role: Role) -> Message:
    prefix = path + "."
    if len(message) > 2:
        fields.absent(message, _BESIDE_TEXT, prefix)
    before = len(fields.faults)
    parts = message.get("content")
    content = _joined(fields, parts, prefix) if type(parts) is list else fields.text(message, "content", prefix)
    if role is not Role.SYSTEM and (not content or content.isspace()) and len(fields.faults) == before:
        fields.blank(f"{prefix}content")
    return Message(role, content, supervised=fields.learnt(message, prefix, role))


def _joined(fields: RowFields, parts: list[Any], prefix: str) -> str:
    texts = []
    for index, part in enumerate(parts):
        path = place(f"{prefix}content", index)
        if not isinstance(part, dict) or part.get("type") != "text":
            fields.fault(path, 'Only parts of the form {"type": "text", "text": …} are supported.')
        else:
            texts.append(fields.text(part, "text", f"{path}."))
    return "".join(texts)
