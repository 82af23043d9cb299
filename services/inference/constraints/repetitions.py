"""How large a regular expression is once its counted repetitions are written out."""

import re
from typing import Final

_COUNT: Final = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")
_ESCAPE: Final = re.compile(r"\\(?:[xuUpP]\{[^}]*\}|.)", re.DOTALL)
_MANY: Final = 10**9
"""Counts of more digits are taken for this one."""


def written_out(pattern: str) -> int:
    """Number of single characters and classes in ``pattern`` with ``x{3}`` written as ``xxx``, nested ones multiplied.

    Unbounded repetitions count once, and what is no regular expression is counted somehow: the compiler refuses it.
    """
    totals, last, place = [0], 0, 0
    while place < len(pattern):
        character = pattern[place]
        count = _COUNT.match(pattern, place) if character == "{" else None
        place = count.end() if count else _after(pattern, place)
        if count:
            times = max(_number(count[1]), _number(count[2] or ""), 1)
            totals[-1] += last * (times - 1)
            last *= times
        elif character == "(":
            totals.append(0)
            last = 0
        elif character == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif character not in "*+?|":
            last = 1
            totals[-1] += 1
    return sum(totals)


def _after(pattern: str, place: int) -> int:
    """Where what begins here ends: an escape, a class, or a single character."""
    if pattern[place] == "[":
        return _after_class(pattern, place)
    escape = _ESCAPE.match(pattern, place)
    return escape.end() if escape else place + 1


def _after_class(pattern: str, place: int) -> int:
    depth = 0
    while place < len(pattern):
        if pattern[place] == "[":
            depth += 1
        elif pattern[place] == "]":
            depth -= 1
        escape = _ESCAPE.match(pattern, place)
        place = escape.end() if escape else place + 1
        if not depth:
            break
    return place


def _number(digits: str) -> int:
    return _MANY if len(digits) > 9 else int(digits or "0")
