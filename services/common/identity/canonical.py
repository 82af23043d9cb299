"""Canonical JSON (RFC 8785) and the SHA-256 over it; strict, bounded reading of JSON from outside."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

import rfc8785

from services.common.errors import DomainError, Reason

__all__ = [
    "canonical_json",
    "canonical_pieces",
    "decode_special_floats",
    "digest_of",
    "parse_json",
    "sha256_hex",
    "tag_numbers",
]

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 8785 numbers are IEEE 754 doubles; beyond this an integer has no single spelling."""
MAX_DEPTH: Final = 64
MEMBERS_AT_ONCE: Final = 4096
FLOAT_TAG: Final = "__float__"
"""How transformers writes a non-finite float: {"__float__": "Infinity"}."""
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
INTEGER_TAG: Final = "__int__"
NON_FINITE: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_HALF_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The only way a lone surrogate gets into JSON that is UTF-8."""
_BEYOND_SIMPLE_ORDER: Final = re.compile("[\ud800-\U0010ffff]")
"""Characters whose order by UTF-16 code units is not that of code points."""


def canonical_json(value: object) -> bytes:
    """Serialise by RFC 8785.

    Raises:
        DomainError: FINGERPRINT_INVALID, where the value has no canonical form (a lone surrogate, NaN, too deep).
    """
    return _plain_json(value) or _canonical_json(value)


def canonical_pieces(value: Mapping[str, Any] | list[Any]) -> Iterator[bytes]:
    """The canonical form of a large object or list, its numbers tagged, some thousand members at a time.

    Raises:
        DomainError: as of ``canonical_json``.
    """
    names = _in_order(value) if isinstance(value, Mapping) else []
    opening, closing = (b"{", b"}") if isinstance(value, Mapping) else (b"[", b"]")
    yield opening
    for begin in range(0, len(value), MEMBERS_AT_ONCE):
        end = begin + MEMBERS_AT_ONCE
        part = {name: value[name] for name in names[begin:end]} if isinstance(value, Mapping) else value[begin:end]
        yield (b"," if begin else b"") + (_plain_json(part) or canonical_json(tag_numbers(part)))[1:-1]
    yield closing


class _NeedsNumbersError(Exception):
    """Something is in the value that the short cut does not spell."""


def _plain_json(value: object) -> bytes | None:
    try:
        return _ENCODER.encode(_ordered(value)).encode("utf-8")
    except (_NeedsNumbersError, UnicodeEncodeError, RecursionError):
        return None


def _canonical_json(value: object) -> bytes:
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # the library checks the type and raises by itself
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise DomainError(
            Reason.FINGERPRINT_INVALID, f"The value has no canonical JSON form (RFC 8785): {type(error).__name__}."
        ) from None


def _ordered(value: object) -> object:
    """The value with its keys in order, if it holds no number but small integers.

    Then the standard encoder, which is written in C, spells it exactly as RFC 8785 does: a vocabulary of 150,000
    tokens takes a fifth of the time.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if isinstance(value, int):
        return _small(value)
    if isinstance(value, Mapping):
        if not _only(str, value):
            raise _NeedsNumbersError
        names = _in_order(value)
        if _only(int, value.values()):  # a vocabulary
            _small(max(value.values(), key=abs, default=0))
            return {name: value[name] for name in names}
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return value if _is_text(value) else [_ordered(item) for item in value]
    raise _NeedsNumbersError


def _only(kind: type, values: Iterable[object]) -> bool:
    return set(map(type, values)) <= {kind}


def _is_text(items: list[Any] | tuple[Any, ...]) -> bool:
    """Whether it holds texts, or lists of texts as merges do: nothing to put in order."""
    return _only(str, items) or (_only(list, items) and _only(str, chain.from_iterable(items)))


def _small(value: int) -> int:
    if type(value) is not int or abs(value) > MAX_SAFE_INTEGER:
        raise _NeedsNumbersError
    return value


def _in_order(keys: Iterable[str]) -> list[str]:
    """By UTF-16 code units, which is the order of code points where all of them are in the basic plane."""
    names = list(keys)
    if _BEYOND_SIMPLE_ORDER.search("".join(names)) is None:
        return sorted(names)
    return sorted(names, key=lambda name: name.encode("utf-16-be"))


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """SHA-256 over the canonical JSON of a value, as 64 lower-case hex digits."""
    return sha256_hex(canonical_json(value))


def parse_json(data: bytes, *, what: str, limit: int, reason: Reason) -> Any:
    """Read JSON that came from outside: at most ``limit`` bytes of UTF-8, no key twice in one object.

    ``NaN`` and ``Infinity`` are read, because older transformers wrote them bare.

    Raises:
        DomainError: LIMIT_EXCEEDED where it is too long, else ``reason``.
    """
    if len(data) > limit:
        raise DomainError(Reason.LIMIT_EXCEEDED, f"{what} has {len(data)} bytes; at most {limit} are read.")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        _check_depth(value)
        if _HALF_ESCAPED.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8, so no canonical form
    except UnicodeDecodeError as error:
        raise DomainError(reason, f"{what} is not UTF-8: byte {error.start} is wrong. Restore the file.") from None
    except UnicodeEncodeError:
        raise DomainError(reason, f"{what} escapes half of a surrogate pair. Restore the file.") from None
    except RecursionError:
        raise DomainError(reason, f"{what} is nested too deeply. Restore the file.") from None
    except ValueError as error:
        raise DomainError(reason, f"{what} is not valid JSON: {str(error)[:200]}. Restore the file.") from None
    return value


def _check_depth(value: Any) -> None:
    """Walk level by level: what recurses over the value later must not run out of stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    if level:
        raise RecursionError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        double = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {double[:80]!r} occurs twice in one object")
    return value


def tag_numbers(value: Any) -> Any:
    """Spell the numbers RFC 8785 cannot hold: non-finite floats as transformers does, large integers as decimals."""
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT_TAG: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        return {INTEGER_TAG: str(value)}
    if isinstance(value, Mapping):
        return {key: tag_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tag_numbers(item) for item in value]
    return value


def decode_special_floats(value: Any) -> Any:
    """Read what transformers wrote as {"__float__": "Infinity"} back into floats."""
    if isinstance(value, dict):
        tag = value.get(FLOAT_TAG)
        if len(value) == 1 and isinstance(tag, str) and tag in NON_FINITE:
            return NON_FINITE[tag]
        return {key: decode_special_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode_special_floats(item) for item in value]
    return value
