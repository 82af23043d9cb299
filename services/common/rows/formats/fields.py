"""Reads fields of one row and keeps a list of all that is wrong with them.

Most rows are right, and this is where a check spends its time: a value that is right is told by one look at it, and the
path of a field is put together only to name a fault.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from services.common.rows.content import DIGEST_BYTES, SOURCE_KEY, source_digest
from services.common.rows.model import Message, Role
from services.common.rows.parse import kind_of, quote

Turn = tuple[str, Message]
"""A message with the path of its place in the row."""


class RowFields:
    """One row being read. Readers go on after a fault, so that all faults of a row are told at once.

    A field is named by the key it has in its holder and the holder's path with a dot behind: ``messages[0].``.
    """

    def __init__(self, row: Mapping[str, Any], max_messages: int, *, has_escapes: bool = True) -> None:
        """Read a row.

        Args:
            row: its keys and values.
            max_messages: most messages in it.
            has_escapes: whether its texts may hold halves of surrogate pairs, which JSON can only write as escapes.
        """
        self.row = row
        self.max_messages = max_messages
        self.faults: list[tuple[str, str]] = []
        """Pairs of field path and reason."""
        self._has_escapes = has_escapes

    def fault(self, path: str, reason: str) -> None:
        """Note that a field is wrong."""
        self.faults.append((path, reason))

    def text(self, holder: Mapping[str, Any], key: str, prefix: str = "", *, required: bool = True) -> str:
        """Read a string; missing and null give "" where it is not required."""
        value = holder.get(key)
        if type(value) is str and not self._has_escapes:
            return value
        if value is None and not required:
            return ""
        if value is None:
            self.fault(prefix + key, f"{quote(key)} is {'null' if key in holder else 'missing'}; it must be a string.")
            return ""
        return self.string(value, prefix + key)

    def string(self, value: object, path: str) -> str:
        """Check that a value is a string that UTF-8 can hold."""
        if not isinstance(value, str):
            self.fault(path, f"The value is {kind_of(value)}; it must be a string.")
            return ""
        if not value.isascii() and not _is_encodable(value):
            self.fault(path, "The text holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.")
            return ""
        return value

    def answer(self, holder: Mapping[str, Any], key: str, prefix: str = "") -> str:
        """Read a string that must say something, because it is what is learnt or asked."""
        before = len(self.faults)
        text = self.text(holder, key, prefix)
        if (not text or text.isspace()) and len(self.faults) == before:
            self.blank(prefix + key)
        return text

    def blank(self, path: str) -> None:
        """Refuse a text that is no more than white space."""
        self.fault(path, "The text is empty. Fill it in or remove the row.")

    def role(self, holder: Mapping[str, Any], key: str, prefix: str, roles: Mapping[str, Role]) -> Role | None:
        """Read who speaks; None after a fault."""
        name = holder.get(key)
        if type(name) is str and name in roles:
            return roles[name]
        before = len(self.faults)
        name = self.text(holder, key, prefix)
        if name.lower() in roles:
            return roles[name.lower()]
        if len(self.faults) == before:
            self.fault(prefix + key, f"The role {quote(name)} is not supported; known are {', '.join(roles)}.")
        return None

    def learnt(self, holder: Mapping[str, Any], prefix: str, role: Role) -> bool:
        """Read whether a message is learnt: the assistant's are, but for those of weight 0."""
        weight = holder.get("weight")
        if weight is None:
            return role is Role.ASSISTANT
        if not isinstance(weight, int | float) or isinstance(weight, bool) or weight not in {0, 1}:
            self.fault(f"{prefix}weight", "The weight must be 0 (do not learn this answer) or 1 (learn it).")
        elif weight and role is not Role.ASSISTANT:
            self.fault(f"{prefix}weight", f"Only the assistant's messages can be learnt; this one is the {role}'s.")
        return weight == 1

    def system(self) -> list[Turn]:
        """Read a system message that stands beside the others."""
        text = self.text(self.row, "system", required=False)
        return [("system", Message(Role.SYSTEM, text, supervised=False))] if text else []

    def source(self) -> bytes | None:
        """Read which row this one was made from; None where it was made from none, or after a fault."""
        value = self.row.get(SOURCE_KEY)
        if value is None:
            return None
        source = source_digest(value)
        if source is None:
            digits = 2 * DIGEST_BYTES
            self.fault(
                SOURCE_KEY,
                f"It must be {digits} hexadecimal digits in lower case: the content digest of the row that this one was "
                "made from. Remove it from rows that are not synthetic.",
            )
        return source

    def objects(self, key: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Read an array of objects, each with its path; entries that are none are left out after a fault."""
        value = self.row.get(key)
        if not isinstance(value, list):
            found = kind_of(value) if key in self.row else "missing"
            self.fault(key, f"{quote(key)} is {found}; it must be an array of messages.")
            return []
        if not value or len(value) > self.max_messages:
            self.fault(key, f"{quote(key)} holds {len(value)} messages; 1 to {self.max_messages} are allowed.")
            return []
        items: list[tuple[str, Mapping[str, Any]]] = []
        for index, item in enumerate(value):
            if type(item) is dict:
                items.append((place(key, index), item))
            else:
                self.fault(place(key, index), f"The message is {kind_of(item)}; it must be an object.")
        return items

    def absent(self, holder: Mapping[str, Any], keys: tuple[str, ...], prefix: str = "") -> None:
        """Refuse what would be learnt wrongly if it were left out, unless it is empty."""
        for key in keys:
            if holder.get(key):
                self.fault(prefix + key, f"{quote(key)} is not supported: training would leave it out. Remove it.")

    def check_turns(self, messages: Sequence[Turn]) -> None:
        """Check the order: an optional system message, then user and assistant in turn, the last one an assistant."""
        turns = messages[1:] if messages and messages[0][1].role is Role.SYSTEM else messages
        for index, (path, message) in enumerate(turns):
            due = Role.ASSISTANT if index % 2 else Role.USER
            if message.role is not due:
                self.fault(path, _out_of_order(message.role, due, first=index == 0))
                return
        if len(turns) % 2 or not turns:
            last = messages[-1][0] if messages else ""
            self.fault(last, "The conversation ends without an answer; its last message must be the assistant's.")
        elif not any([message.supervised for _, message in turns]):  # noqa: C419 - a list is faster than a generator
            self.fault("", "No answer is left to learn: every assistant message has weight 0.")


@lru_cache(4096)
def place(key: str, index: int) -> str:
    """Write the path of an entry of an array."""
    return f"{key}[{index}]"


def _out_of_order(found: Role, due: Role, *, first: bool) -> str:
    if found is Role.SYSTEM:
        return "A system message is only allowed as the first one."
    after = "first" if first else f"after the {'user' if due is Role.ASSISTANT else 'assistant'}'s message"
    return f"The roles are out of order: {after} comes the {due}, here it is the {found}."


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
