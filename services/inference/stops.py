"""From tokens to text as it streams: cut at whole characters, and before any stop text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

_INCOMPLETE = "\ufffd"


class TextStream:
    """The text of one answer, piece by piece."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop: Sequence[str]) -> None:
        """Start an empty answer.

        Args:
            tokenizer: of the base.
            stop: the answer ends before the one that is complete first; none is empty.
        """
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._start = 0
        self._read = 0
        self._held = ""
        self._stopped = False

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
        text, self._held = text + self._held, ""
        return text

    def _new_text(self, *, last: bool) -> str:
        # Decoded together with the tokens before: some tokenizers write a word's space only behind another word.
        before = self._decode(self._ids[self._start : self._read])
        text = self._decode(self._ids[self._start :])
        if len(text) <= len(before) or (text.endswith(_INCOMPLETE) and not last):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _release(self, text: str) -> str:
        if self._stopped:
            return ""
        text = self._held + text
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if found:
            self._stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that begins the stop text."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
