"""Strict reading of fingerprint documents: every field is there once, of its type, and nothing else is."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, NoReturn

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import MAX_SAFE_INTEGER
from services.common.identity.modules import KINDS, LinearModule
from services.common.identity.safetensors_header import BITS
from services.common.identity.trees import TensorLeaf

__all__ = ["Fields", "is_digest", "read_modules", "read_tensors", "refuse"]

MAX_RANK: Final = 16
MAX_TEXT: Final = 2048
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 as 64 lower-case hex digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def refuse(fault: str) -> NoReturn:
    """Raise FINGERPRINT_INVALID.

    Raises:
        DomainError: always.
    """
    raise DomainError(
        Reason.FINGERPRINT_INVALID, f"The fingerprint is not valid: {fault}. Make it again with `tenon fingerprint`."
    )


class Fields:
    """The fields of one JSON object, taken out one by one."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, Mapping):
            refuse(f"{what} is not an object")
        self._left = dict(value)
        self._what = what

    def _take(self, key: str) -> Any:
        if key not in self._left:
            refuse(f"{self._what} has no {key}")
        return self._left.pop(key)

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
            refuse(f"{key} of {self._what} is not a text of 1 to {MAX_TEXT} characters")
        return value

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            refuse(f"{key} of {self._what} is {value[:80]!r}, not one of {', '.join(known)}")
        return value

    def digest(self, key: str) -> str:
        value = self._take(key)
        if not is_digest(value):
            refuse(f"{key} of {self._what} is not a SHA-256 of 64 lower-case hex digits")
        return str(value)

    def optional_digest(self, key: str) -> str | None:
        if key in self._left and self._left[key] is None:
            return self._take(key)  # type: ignore[no-any-return]  # it is None
        return self.digest(key)

    def count(self, key: str) -> int:
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SAFE_INTEGER:
            refuse(f"{key} of {self._what} is not a whole number from 0 to 2^53 - 1")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._take(key)
        if not isinstance(value, dict):
            refuse(f"{key} of {self._what} is not an object")
        return value

    def optional_mapping(self, key: str) -> dict[str, Any] | None:
        if key in self._left and self._left[key] is None:
            return self._take(key)  # type: ignore[no-any-return]  # it is None
        return self.mapping(key)

    def has(self, key: str) -> bool:
        return key in self._left

    def items(self, key: str) -> list[Any]:
        value = self._take(key)
        if not isinstance(value, list):
            refuse(f"{key} of {self._what} is not a list")
        return value

    def digests(self, key: str) -> dict[str, str]:
        value = self.mapping(key)
        if not value or not all(is_digest(item) for item in value.values()):
            refuse(f"{key} of {self._what} is not a non-empty object of digests")
        return value

    def done(self) -> None:
        if self._left:
            refuse(f"{self._what} has unknown fields: {', '.join(sorted(self._left))[:200]}")


def read_tensors(items: list[Any]) -> tuple[TensorLeaf, ...]:
    """The leaves, in UTF-8 byte order of names and without repetition.

    Raises:
        DomainError: FINGERPRINT_INVALID.
    """
    leaves = tuple(_read_tensor(item) for item in items)
    names = [leaf.name.encode() for leaf in leaves]
    if not leaves or any(left >= right for left, right in pairwise(names)):
        refuse("tensors are none, repeated or not in the byte order of their names")
    return leaves


def _read_tensor(item: Any) -> TensorLeaf:
    fields = Fields(item, "a tensor")
    leaf = TensorLeaf(
        name=fields.text("name"),
        dtype=fields.one_of("dtype", tuple(BITS)),
        shape=_shape(fields.items("shape")),
        content=fields.digest("content"),
    )
    fields.done()
    return leaf


def _shape(items: list[Any]) -> tuple[int, ...]:
    if len(items) > MAX_RANK or not all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_SAFE_INTEGER for size in items
    ):
        refuse(f"a tensor's shape is not a list of at most {MAX_RANK} whole numbers")
    return tuple(items)


def read_modules(items: list[Any]) -> tuple[LinearModule, ...]:
    """The modules, each name once.

    Raises:
        DomainError: FINGERPRINT_INVALID.
    """
    modules = tuple(_read_module(item) for item in items)
    if len({module.name for module in modules}) != len(modules):
        refuse("a module occurs twice")
    return modules


def _read_module(item: Any) -> LinearModule:
    fields = Fields(item, "a module")
    module = LinearModule(
        name=fields.text("name"),
        kind=fields.one_of("kind", KINDS),
        in_features=fields.count("in_features"),
        out_features=fields.count("out_features"),
    )
    fields.done()
    return module
