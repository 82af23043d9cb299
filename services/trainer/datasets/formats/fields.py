"""Reads fields of one row and keeps a list of all that is wrong with them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from services.trainer.datasets.model import Message, Role
from services.trainer.datasets.parse import kind_of, quote

SURROGATE: Final = re.compile("[\ud800-\udfff]")


class RowFields:
    """One row being read. Readers go on after a fault, so that all faults of a row are told at once."""

    def __init__(self, row: Mapping[str, Any], max_messages: int) -> None:
        self.row = row
        self.max_messages = max_messages
        self.faults: list[tuple[str, str]] = []
        """Pairs of field path and reason."""

    def fault(self, path: str, reason: str) -> None:
        """Note that a field is wrong."""
        self.faults.append((path, reason))

    def text(self, holder: Mapping[str, Any], key: str, path: str, *, required: bool = True) -> str:
        """Read a string; missing and null give "" where it is not required."""
        value = holder.get(key)
        if value is None and not required:
            return ""
        if value is None:
            self.fault(path, f"{quote(key)} is {'null' if key in holder else 'missing'}; it must be a string.")
            return ""
        return self.string(value, path)

    def string(self, value: object, path: str) -> str:
        """Check that a value is a string that UTF-8 can hold."""
        if not isinstance(value, str):
            self.fault(path, f"The value is {kind_of(value)}; it must be a string.")
            return ""
        if not value.isascii() and SURROGATE.search(value):
            self.fault(path, "The text holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.")
            return ""
        return value

    def answer(self, holder: Mapping[str, Any], key: str, path: str) -> str:
        """Read a string that must say something, because it is what is learnt or asked."""
        before = len(self.faults)
        text = self.text(holder, key, path)
        if len(self.faults) == before:
            self.not_blank(text, path)
        return text

    def not_blank(self, text: str, path: str) -> None:
        """Check that a text is more than white space."""
        if not text or text.isspace():
            self.fault(path, "The text is empty. Fill it in or remove the row.")

    def role(self, holder: Mapping[str, Any], key: str, path: str, roles: Mapping[str, Role]) -> Role | None:
        """Read who speaks; None after a fault."""
        before = len(self.faults)
        name = self.text(holder, key, path)
        if name not in roles and len(self.faults) == before:
            self.fault(path, f"The role {quote(name)} is not supported; known are {', '.join(roles)}.")
        return roles.get(name)

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
        items = [(f"{key}[{index}]", item) for index, item in enumerate(value)]
        for path, item in items:
            if not isinstance(item, dict):
                self.fault(path, f"The message is {kind_of(item)}; it must be an object.")
        return [(path, item) for path, item in items if isinstance(item, dict)]

    def absent(self, holder: Mapping[str, Any], keys: tuple[str, ...], prefix: str) -> None:
        """Refuse what would be learnt wrongly if it were left out, unless it is empty."""
        for key in keys:
            if holder.get(key):
                self.fault(f"{prefix}{key}", f"{quote(key)} is not supported: training would leave it out. Remove it.")

    def check_turns(self, messages: list[tuple[str, Message]]) -> None:
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
        elif not any(message.supervised for _, message in turns):
            self.fault("", "No answer is left to learn: every assistant message has weight 0.")


def _out_of_order(found: Role, due: Role, *, first: bool) -> str:
    if found is Role.SYSTEM:
        return "A system message is only allowed as the first one."
    after = "first" if first else f"after the {'user' if due is Role.ASSISTANT else 'assistant'}'s message"
    return f"The roles are out of order: {after} comes the {due}, here it is the {found}."
