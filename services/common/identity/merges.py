"""The merges of tokenizer.json, read some thousand at a time: they are half of a large file, and most of its objects."""

import re
from collections.abc import Iterator
from typing import Any, Final

from services.common.errors import Reason
from services.common.identity.canonical import parse_json

__all__ = ["cut_merges", "read_merges"]

MERGES_AT_ONCE: Final = 4096
_SPACE: Final = rb"[ \t\n\r]*+"
_TEXT: Final = rb'"(?:[^"\\\x00-\x1f]|\\.)*+"'
_MERGE: Final = rb"(?:%(s)s(?:%(t)s|\[%(s)s%(t)s%(s)s,%(s)s%(t)s%(s)s\])%(s)s)" % {b"s": _SPACE, b"t": _TEXT}
_KEY: Final = re.compile(rb'"merges"' + _SPACE + rb":" + _SPACE + rb"(?=\[)")
_ARRAY: Final = re.compile(rb"\[%(m)s(?:,%(m)s)*+\]" % {b"m": _MERGE})
_SOME: Final = re.compile(rb"(%(m)s(?:,%(m)s){0,%(n)d}+)([,\]])" % {b"m": _MERGE, b"n": MERGES_AT_ONCE - 1})


def cut_merges(data: bytes, mark: str) -> tuple[bytes, int | None]:
    """Take the first list of merges out of a document.

    A quotation mark inside of a text has a backslash before it, so the key is found nowhere else than where it is a key;
    and a list in the place of which a text is put leaves the rest as right or wrong as it was.

    Args:
        data: JSON.
        mark: a text that stands in the place of the list afterwards.

    Returns:
        The rest, and where the list begins; None for one that is not there, is empty, or holds anything but texts and
        pairs of texts.
    """
    key = _KEY.search(data)
    found = _ARRAY.match(data, key.end()) if key else None
    if found is None:
        return data, None
    return b'%b"%b"%b' % (data[: found.start()], mark.encode(), data[found.end() :]), found.start()


def read_merges(data: bytes, begin: int, *, what: str) -> Iterator[list[Any]]:
    """The merges of a list that was found in a document, as JSON values, some at a time.

    Raises:
        DomainError: BASE_NOT_A_MODEL where a text is not UTF-8 or escapes half of a surrogate pair.
    """
    position = begin + 1
    while found := _SOME.match(data, position):
        yield parse_json(b"[%b]" % found[1], what=what, limit=len(data), reason=Reason.BASE_NOT_A_MODEL)
        if found[2] == b"]":
            return
        position = found.end()
