"""ShareGPT: ``{conversations: [{from, value}]}``, optionally ``system``, and ``weight`` as in OpenAI chat.

Many data sets of this name write ``role`` and ``content`` for ``from`` and ``value``; so may each turn.
"""

from typing import Final

from services.common.rows.formats.fields import RowFields
from services.common.rows.model import Conversation, Message, Role

ROLES: Final = {
    "human": Role.USER,
    "user": Role.USER,
    "prompter": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "system": Role.SYSTEM,
}
"""Who is meant by which ``from``, in lower case."""


def read(fields: RowFields) -> Conversation | None:
    """Read a row; None if the roles cannot be told."""
    fields.absent(fields.row, ("tools",))
    messages = fields.system()
    for path, turn in fields.objects("conversations"):
        prefix = path + "."
        who, what = ("role", "content") if "role" in turn and "from" not in turn else ("from", "value")
        role = fields.role(turn, who, prefix, ROLES)
        if role is None:
            continue
        text = (fields.text if role is Role.SYSTEM else fields.answer)(turn, what, prefix)
        messages.append((path, Message(role, text, supervised=fields.learnt(turn, prefix, role))))
    if fields.faults:
        return None
    fields.check_turns(messages)
    return Conversation(tuple([message for _, message in messages]))
