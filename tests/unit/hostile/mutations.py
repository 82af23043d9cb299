"""Damage to documents: of their bytes, and of the JSON they are."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

MAX_BYTES: Final = 64 * 1024
"""Of a mutated document: long enough for every rule, short enough to try many."""

Path = tuple[str | int, ...]

HOSTILE_TEXTS: Final = (
    "null", "true", "false", "0", "-0", "-1", "1", "1.0", "0.1", "1e308", "-1e999", "1E400", "NaN", "-Infinity",
    str(2**31), str(2**53), str(2**60), str(2**62), str(2**63), str(2**64), "9" * 400, "9" * 5000, "00", "1.",
    '""', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u00e9"', '"é"', '"/../x"', '"a.b"', '"' + "x" * 3000 + '"',
    "[]", "{}", "[[]]", '{"":0}', "[" * 70 + "]" * 70, "[" * 3000, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1",
    "[0" + ",0" * 3000 + "]", "[" + "[]," * 3000 + "[]]", '"(a+)+$"', '"(.*)*x"', '".*"', '"' + "(" * 500 + '"',
    '"00' + "ab" * 31 + '"', '"' + "A" * 88 + '"', '"LORA"', '"F32"', '"tenon.adapter/1"',
)  # fmt: skip
"""JSON, and what only looks like it, to put in the place of a value."""

HOSTILE_BYTES: Final = (b"\xff", b"\x00", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\", b'"', b"\n")


def mutate(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A document damaged one to four times.

    Args:
        data: to be damaged; not changed.
        random: decides.
        others: documents to take parts from.
    """
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        kinds: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (_bytes, _json, _json, _json)
        data = random.choice(kinds)(data, random, others)[:MAX_BYTES]
    return data


def _bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    begin, end = sorted(random.randint(0, len(data)) for _ in range(2))
    near = min(len(data), begin + random.randint(1, 8))
    before, other = data[:begin], random.choice(others)
    flipped = bytes(byte ^ (1 << random.randrange(8)) for byte in data[begin : begin + 1])
    return random.choice(
        (
            before,
            before + flipped + data[begin + 1 :],
            before + data[near:],
            data[:end] + data[begin:],
            before + random.choice(HOSTILE_BYTES) + data[near:],
            before + random.choice(HOSTILE_TEXTS).encode() + data[near:],
            before + other[random.randint(0, len(other)) :],
        )
    )


def _json(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The length of a safetensors header is kept right, or else no damage would get past it."""
    prefix = _has_prefix(data)
    try:
        document = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")] if prefix else data)
    except (ValueError, RecursionError):
        return _bytes(data, random, others)
    text = _damaged(document, random).encode("utf-8", "surrogatepass")
    if not prefix:
        return text
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def _has_prefix(data: bytes) -> bool:
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _damaged(document: Any, random: Random) -> str:
    """Text of the document with one node replaced, doubled, renamed, moved, removed, or one number a little off."""
    paths = list(_paths(document))
    path = random.choice(paths)
    mark = f"mark-{random.random()}"
    kind = random.randrange(6)
    value: Any = _at(document, path)
    if kind == 0 and path:
        return _spell(_replaced(document, path, None, remove=True))
    if kind == 1 and isinstance(value, int):
        return _spell(_replaced(document, path, value + random.choice((-1, 1, -value, 2**62, value))))
    if kind == 2 and path and isinstance(path[-1], str):
        other = random.choice([found[-1] for found in paths if found and isinstance(found[-1], str)] + ["x", "", "é"])
        holder = {**_at(document, path[:-1]), mark: value}
        return _spell(_replaced(document, path[:-1], holder)).replace(json.dumps(mark), json.dumps(other))
    if kind == 3:
        return _spell(_replaced(document, path, _at(document, random.choice(paths))))
    if kind == 4 and isinstance(value, str) and value:
        at = random.randrange(len(value))
        return _spell(
            _replaced(document, path, value[:at] + random.choice(("", "A", "é", ".", value)) + value[at + 1 :])
        )
    return _spell(_replaced(document, path, mark)).replace(json.dumps(mark), random.choice(HOSTILE_TEXTS))


def _spell(document: Any) -> str:
    """As canonical JSON writes it, so that what needs canonical bytes is not always refused for its spaces."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _paths(value: Any) -> list[Path]:
    found: list[Path] = [()]
    for key, item in _items(value):
        found += [(key, *rest) for rest in _paths(item)]
    return found


def _items(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _replaced(value: Any, path: Path, new: Any, *, remove: bool = False) -> Any:
    """A copy with another value at a path, or without it."""
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if remove and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _replaced(copy[path[0]], path[1:], new, remove=remove)
    return copy
