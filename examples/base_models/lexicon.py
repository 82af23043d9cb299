"""The words and sentences that the training text is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_GB2312_LEVEL_1_ROWS = range(0xB0, 0xD8)
_GB2312_COLUMNS = range(0xA1, 0xFF)


@dataclass(frozen=True, slots=True)
class Word:
    """A thing with its name and its kind, in Chinese and in English."""

    zh: str
    en: str
    kind_zh: str
    kind_en: str


@cache
def words() -> tuple[Word, ...]:
    """Answer all words of `lexicon.json`, in the order of the file."""
    kinds = json.loads(_text("lexicon.json"))
    return tuple(
        Word(zh=zh, en=en, kind_zh=kind["zh"], kind_en=name)
        for name, kind in kinds.items()
        for zh, en in kind["words"].items()
    )


@cache
def sentences(language: str) -> tuple[str, ...]:
    """Answer the plain sentences of `sentences.json` in `language` ("zh" or "en")."""
    return tuple(json.loads(_text("sentences.json"))[language])


@cache
def common_characters() -> tuple[str, ...]:
    """Answer the 3,755 most used Chinese characters: level 1 of the standard GB 2312-80."""
    codes = (bytes((row, column)) for row in _GB2312_LEVEL_1_ROWS for column in _GB2312_COLUMNS)
    return tuple(code.decode("gb2312", errors="ignore") for code in codes if code < b"\xd7\xfa")


@cache
def known_characters() -> tuple[str, ...]:
    """Answer every Chinese character of the words and the sentences, in order of code point."""
    characters = {character for text in sentences("zh") for character in text}
    characters |= {character for word in words() for character in word.zh}
    return tuple(sorted(characters & set(common_characters())))


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
