"""Reads the bytes of one row as a JSON object, strictly, and says in a sentence why it cannot.

Rows are read by a fast parser first, which says little of what is wrong and takes the last of two equal keys. What it refuses, and what may hold a key twice, is read again by the exact parser, whose word counts.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import orjson

from services.common.rows.cut import RawRow
from services.common.rows.model import Fault

SHOWN: Final = 40
"""Characters of a value that an error text quotes."""

_AFTER_KEY: Final = (b'":', b" :", b"\t:", b"\n:", b"\r:")
"""What a colon behind a key looks like; each may stand in a string too."""

JSON_KINDS: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def parse_row(raw: RawRow) -> dict[str, Any] | Fault:
    """Parse a row.

    Returns:
        The object, or the Fault that says where and why it is none.
    """
    value = _parse_fast(raw.data)
    return _parse_exactly(raw) if value is None else value


def _parse_fast(data: bytes) -> dict[str, Any] | None:
    """Parse a row that is certainly right; None where it may be wrong."""
    try:
        value = orjson.loads(data)
        return value if isinstance(value, dict) and _has_each_key_once(data, value) else None
    except (orjson.JSONDecodeError, RecursionError):
        return None


def _has_each_key_once(data: bytes, value: dict[str, Any]) -> bool:
    """Tell whether no key came twice in one object; False where it may have.

    A colon stands behind each key, and perhaps in strings: where there are no more of them than keys, no key was lost.
    """
    keys = _count_keys(value)
    return data.count(b":") == keys or sum(map(data.count, _AFTER_KEY)) == keys


def _count_keys(value: dict[str, Any] | list[Any]) -> int:
    inner = value.values() if isinstance(value, dict) else value
    count = len(value) if isinstance(value, dict) else 0
    for item in inner:
        if type(item) is dict or type(item) is list:
            count += _count_keys(item)
    return count


def _parse_exactly(raw: RawRow) -> dict[str, Any] | Fault:
    try:
        value = json.loads(raw.data.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        return _fault(raw, _not_utf8(raw, error))
    except json.JSONDecodeError as error:
        return _fault(raw, _describe(error, raw.line))
    except (RecursionError, ValueError) as error:
        # ValueError: a key that occurs twice, or an integer of thousands of digits.
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        return _fault(raw, f"The row cannot be read: {why}.")
    return value if isinstance(value, dict) else _fault(raw, f"The row is {kind_of(value)}; it must be a JSON object.")


def kind_of(value: object) -> str:
    """Name a JSON value's type in words."""
    return JSON_KINDS.get(type(value), type(value).__name__)


def quote(text: str) -> str:
    """Quote a value for an error text: shortened, on one line, nothing unprintable."""
    shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    quoted = json.dumps(shown, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(shown)


def _fault(raw: RawRow, reason: str) -> Fault:
    return Fault(raw.line, raw.row, "", reason)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {quote(key)} occurs more than once in one object; keep one of them")
    return result


def _not_utf8(raw: RawRow, error: UnicodeDecodeError) -> str:
    byte = raw.data[error.start]
    line = raw.line + raw.data.count(b"\n", 0, error.start)
    where = f"byte {raw.offset + error.start:,} of the file (0x{byte:02x}, in line {line})"
    return f"The row is not UTF-8 at {where}. Save the file as UTF-8."


def _describe(error: json.JSONDecodeError, first_line: int) -> str:
    where = f"line {first_line + error.lineno - 1}, character {error.pos + 1} of the row"
    if error.pos >= len(error.doc) or error.msg.startswith("Unterminated string"):
        return f"The row is cut off: its JSON ends too early ({where}). Each row must be one whole JSON object."
    hint = " Use double quotes." if error.doc[error.pos] == "'" else ""
    return f"The row is not valid JSON: {error.msg} ({where}).{hint}"
