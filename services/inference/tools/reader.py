"""Reads calls from an answer as it comes. The grammar has made it what its notation says; only where it ends is open."""

import re
from typing import Final

from services.inference.stops import overlap
from services.inference.tools.kinds import ToolCallDelta
from services.inference.tools.notation import Notation

_NAME: Final = r'\{"name": "([A-Za-z0-9_-]+)", "KEY": '


class CallReader:
    """Splits one answer into text and calls."""

    def __init__(self, notation: Notation) -> None:
        """Begin.

        Args:
            notation: of the model's template.
        """
        self._notation = notation
        self._head = re.compile(_NAME.replace("KEY", notation.key))
        self._held = ""
        self._calls = 0
        self._begun = False
        self._in_text = True
        self._arguments: _Object | None = None

    @property
    def called(self) -> bool:
        """Whether there are calls, and none is cut off."""
        return self._calls > 0 and self._arguments is None

    def push(self, text: str, *, last: bool) -> tuple[str, tuple[ToolCallDelta, ...]]:
        """Add text; gives what of it is the answer's own text, and the pieces of calls.

        Args:
            text: the next piece.
            last: whether none comes after it.
        """
        self._held += text
        content = self._content(last=last) if self._in_text else ""
        deltas: list[ToolCallDelta] = []
        while not self._in_text and (delta := self._next()) is not None:
            deltas.append(delta)
        return content, tuple(deltas)

    def _content(self, *, last: bool) -> str:
        marker = self._notation.marker
        if not marker:
            return self._content_or_call()
        place = self._held.find(marker)
        if place >= 0:
            content, self._held = self._held[:place], self._held[place + len(marker) :]
            self._in_text = False
            return content
        keep = 0 if last else overlap(self._held, marker)
        content = self._held[: len(self._held) - keep]
        self._held = self._held[len(content) :]
        return content

    def _content_or_call(self) -> str:
        """The first character decides."""
        if not self._begun and self._held.startswith("{"):
            self._in_text = False
            return ""
        content, self._held = self._held, ""
        self._begun = self._begun or bool(content)
        return content

    def _next(self) -> ToolCallDelta | None:
        """The next piece of a call in what is held, or None where more of it must come first."""
        if self._arguments is None:
            head = self._head.search(self._held)
            if head is None:
                return None
            self._held = self._held[head.end() :]
            self._arguments = _Object()
            self._calls += 1
            return ToolCallDelta(self._calls - 1, "", self._notation.new_id(), head[1])
        if not self._held:
            return None
        taken = self._arguments.take(self._held)
        piece, self._held = self._held[:taken], self._held[taken:]
        if self._arguments.ended:
            self._arguments = None
        return ToolCallDelta(self._calls - 1, piece)


class _Object:
    """Where a JSON object ends."""

    def __init__(self) -> None:
        self.ended = False
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def take(self, text: str) -> int:
        """How many characters of the text are the object's."""
        for place, character in enumerate(text, 1):
            self._step(character)
            if self.ended:
                return place
        return len(text)

    def _step(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped = character == "\\"
            self._quoted = character != '"'
        elif character == '"':
            self._quoted = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.ended = not self._depth
