"""Which of a model's wordings will do: rules on texts alone."""

import enum
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

from services.common.rows.content import Example
from services.common.rows.model import TextPair

LONGER: Final = 3
"""Times as long as what it rewords a wording may be, or as an answer a new one."""

SPARE_CHARACTERS: Final = 80
"""Characters that a wording may be longer in any case: short questions have longer ones that say the same."""

LEAST_ANSWER: Final = 2
"""Characters of an answer below which it is not looked for in the question: single letters are everywhere."""

LEAST_LETTERS: Final = 3
"""Letters of a text below which it is of no script."""

ECHO_WORDS: Final = 4
"""Words in a row that no wording has by chance in common with what the model was told."""


class Rejection(enum.StrEnum):
    """Why a wording is not taken; the words of the table."""

    EMPTY = "empty"
    CUT = "cut off"
    TOO_LONG = "too long"
    GARBLED = "garbled"
    OTHER_SCRIPT = "in another script"
    ECHO = "repeats what it was told to do"
    SAME = "same as its row"
    OTHER_NUMBERS = "of other numbers"
    TELLS_ANSWER = "tells the answer"
    DUPLICATE = "same as another row"
    FAULTY = "faulty as a row"
    CONTEXT = "longer than the model's context"


def longest(text: str) -> int:
    """Characters that another wording of a text may have."""
    return max(LONGER * len(text), len(text) + SPARE_CHARACTERS)


@lru_cache(4096)
def normalised(text: str) -> str:
    """A text without what makes no other wording: case, kinds of letters, punctuation, blanks but one between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(c)[0] in "PZC" else c for c in folded)
    return " ".join(kept.split()) or " ".join(folded.split())


def prompt_key(example: Example) -> tuple[str, ...]:
    """What two rows with the same prompt have in common: all that is read before the last answer, normalised."""
    texts = [example.prompt] if isinstance(example, TextPair) else [turn.content for turn in example.messages[:-1]]
    return tuple(normalised(text).replace(" ", "") for text in texts)


def judge_text(text: str, of: str, told: str) -> Rejection | None:
    """Judge what a model wrote in place of a text.

    Args:
        text: what it wrote, stripped.
        of: the text.
        told: what the model was told to do with it.
    """
    if not normalised(text) or (_says_something(of) and not _says_something(text)):
        return Rejection.EMPTY
    if len(text) > longest(of):
        return Rejection.TOO_LONG
    if _is_garbled(text):
        return Rejection.GARBLED
    if _shingles(text) & (_shingles(told) - _shingles(of)):
        return Rejection.ECHO
    scripts = {_script(of), _script(text)} - {""}
    return Rejection.OTHER_SCRIPT if len(scripts) > 1 else None


def judge_question(question: str, of: str, answer: str, told: str) -> Rejection | None:
    """Judge another wording of a question, as ``judge_text`` does, and beside its answer."""
    if (found := judge_text(question, of, told)) is not None:
        return found
    if normalised(question).replace(" ", "") == normalised(of).replace(" ", ""):
        return Rejection.SAME
    if _numbers(question) != _numbers(of):
        return Rejection.OTHER_NUMBERS
    return Rejection.TELLS_ANSWER if _tells(question, answer) and not _tells(of, answer) else None


def _says_something(text: str) -> bool:
    return any(c.isalnum() for c in text)


def _numbers(text: str) -> frozenset[str]:
    """The numbers in figures: a question about others has another answer."""
    return frozenset(re.findall(r"[0-9]+", unicodedata.normalize("NFKC", text)))


def _tells(question: str, answer: str) -> bool:
    sought = normalised(answer)
    if len(sought) < LEAST_ANSWER:
        return False
    # Words of other scripts need no blank between them.
    return bool(re.search(rf"(?<![0-9a-z]){re.escape(sought)}(?![0-9a-z])", normalised(question)))


def _is_garbled(text: str) -> bool:
    """Whether it holds what no one types: characters cut in half, control codes, private and unassigned ones."""
    return any(c == "\ufffd" or (unicodedata.category(c)[0] == "C" and c not in "\n\t\u200c\u200d") for c in text)


@lru_cache(4096)
def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = normalised(text).split()
    return frozenset(tuple(words[at : at + ECHO_WORDS]) for at in range(len(words) - ECHO_WORDS + 1))


_SCRIPTS: Final = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "FULLWIDTH": "LATIN"}


@lru_cache(4096)
def _script(text: str) -> str:
    """The script that most letters of a text are of; empty where there are too few."""
    letters = [unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()]
    if len(letters) < LEAST_LETTERS:
        return ""
    return Counter(_SCRIPTS.get(name, name) for name in letters).most_common(1)[0][0]
