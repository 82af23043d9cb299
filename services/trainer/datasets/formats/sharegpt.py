"""ShareGPT: ``{conversations: [{from, value}]}``, optionally ``system``."""

from typing import Final

from services.trainer.datasets.formats.fields import RowFields
from services.trainer.datasets.model import Conversation, Message, Role

ROLES: Final = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "system": Role.SYSTEM,
}
"""Who is meant by which ``from``."""


def read(fields: RowFields) -> Conversation | None:
    """Read a row; None if the roles cannot be told."""
    fields.absent(fields.row, ("tools",))
    system = fields.text(fields.row, "system", required=False)
    messages = [] if not system else [("system", Message(Role.SYSTEM, system, supervised=False))]
    for path, turn in fields.objects("conversations"):
        prefix = path + "."
        role = fields.role(turn, "from", prefix, ROLES)
        if role is None:
            continue
        text = (fields.text if role is Role.SYSTEM else fields.answer)(turn, "value", prefix)
        messages.append((path, Message(role, text, supervised=role is Role.ASSISTANT)))
    if fields.faults:
        return None
    fields.check_turns(messages)
    return Conversation(tuple([message for _, message in messages]))
