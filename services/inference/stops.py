"""From tokens to text as it streams: cut at whole characters, and before any stop text."""

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from transformers import PreTrainedTokenizerFast

_INCOMPLETE: Final = "\ufffd"

_PATIENCE: Final = 64
"""Tokens that may come without making a whole character; reading ever more of them again with each would take ever longer."""
_UNDECIDED: Final = 3
"""Of these, the last ones that may still be the beginning of a character."""


class TextStream:
    """The text of one answer, piece by piece, and where its tokens begin in it."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        stop: Sequence[str],
        *,
        located: bool = False,
        kept: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """Start an empty answer.

        Args:
            tokenizer: of the base.
            stop: the answer ends before the one that is complete first; none is empty.
            located: whether ``take`` will be asked where tokens begin.
            kept: special tokens that are text here, with it; the others have none.
        """
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._locating = located
        self._kept = kept
        self._ids: list[int] = []
        self._start = 0
        self._read = 0
        self._held = ""
        self._stopped = False
        self._decoded = 0
        self._released = 0
        self._offsets: deque[int] = deque()
        self._complete = False

    @property
    def stopped(self) -> bool:
        """Whether a stop text came; there is no more text then."""
        return self._stopped

    def push(self, token_id: int) -> str:
        """Add a token and return the text that is certain now."""
        self._ids.append(token_id)
        return self._release(self._new_text(last=False))

    def finish(self) -> str:
        """Return what was held back: bytes that never became a character, the beginning of a stop text."""
        text = self._release(self._new_text(last=True))
        if self._stopped:
            return text
        if self._locating:  # those without any text
            self._offsets.extend([self._decoded] * (len(self._ids) - self._read))
        self._complete = True
        self._released += len(self._held)
        text, self._held = text + self._held, ""
        return text

    def take(self) -> list[int]:
        """Where the next tokens begin, in code points: those that begin in the text returned until now, each told once.

        Tokens that begin at a stop text or behind it are never told.
        """
        taken = []
        while self._offsets and (self._complete or self._offsets[0] < self._released):
            taken.append(self._offsets.popleft())
        return taken

    def _new_text(self, *, last: bool) -> str:
        # Decoded together with the tokens before: some tokenizers write a word's space only behind another word.
        before = self._decode(self._ids[self._start : self._read])
        text = self._decode(self._ids[self._start :])
        end = len(self._ids)
        if not last and (len(text) <= len(before) or text.endswith(_INCOMPLETE)):
            if end - self._read < _PATIENCE:
                return ""
            end -= _UNDECIDED
            text = self._decode(self._ids[self._start : end])
        if self._locating:
            self._locate(before, text, end)
        self._decoded += max(len(text) - len(before), 0)
        self._start, self._read = self._read, end
        return text[len(before) :]

    def _locate(self, before: str, text: str, stop: int) -> None:
        """Note where tokens begin whose text has become certain; inside of a character is where the character begins."""
        known = before
        for end in range(self._read, stop):
            if end > self._read:
                known = self._decode(self._ids[self._start : end])
            # A part of a character is decoded to something else than what it becomes with its rest.
            shared = _shared(known, text)
            self._offsets.append(self._decoded + max(shared - len(before), 0))

    def _decode(self, ids: list[int]) -> str:
        text, start = "", 0
        for place in [place for place, token in enumerate(ids) if token in self._kept]:
            text += self._decode_plain(ids[start:place]) + self._kept[ids[place]]
            start = place + 1
        return text + self._decode_plain(ids[start:])

    def _decode_plain(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _release(self, text: str) -> str:
        if self._stopped:
            return ""
        text = self._held + text
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if found:
            self._stopped, self._held = True, ""
            self._released += min(found)
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        self._released += len(text) - keep
        return text[: len(text) - keep]


def _shared(one: str, other: str) -> int:
    """Length of the longest text that both begin with."""
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that begins the stop text."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
