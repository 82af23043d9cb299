"""Headers of safetensors files, read strictly: what is not exactly right is refused.

Format: eight bytes of little-endian length N, N bytes of JSON, then the tensors' bytes without gap or overlap
(https://huggingface.co/docs/safetensors, section Format). The JSON is scanned by a grammar of its own instead of a
general parser, so that a hostile header cannot make us build deep or foreign structures: memory stays proportional to
the header, and a header is never longer than its file.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from services.common.errors import DomainError, Reason

__all__ = ["BITS", "MAX_HEADER_BYTES", "PREFIX_BYTES", "TensorEntry", "header_length", "parse_header"]

PREFIX_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
"""About 150,000 tensors in one file; the format itself allows 100 MB."""
MAX_RANK: Final = 16
MAX_NAME_BYTES: Final = 1024
METADATA_KEY: Final = "__metadata__"
ENTRY_KEYS: Final = frozenset({"dtype", "shape", "data_offsets"})

BITS: Final = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element, for every dtype of the format."""

_TOKEN: Final = re.compile(
    r"""[ \t\n\r]*(?:
        (?P<string>"(?:[^"\\\x00-\x1f]++|\\.)*+")
      | (?P<number>0(?![0-9])|[1-9][0-9]{0,18}(?![0-9.eE]))
      | (?P<mark>[{}\[\]:,])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as its file declares it; ``begin`` and ``end`` are byte offsets from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_length(prefix: bytes, *, file_size: int, what: str) -> int:
    """Length N of the JSON, from the first eight bytes of the file.

    Raises:
        DomainError: SAFETENSORS_INVALID where the file is too short for it, LIMIT_EXCEEDED above ``MAX_HEADER_BYTES``.
    """
    if len(prefix) < PREFIX_BYTES:
        _refuse(what, f"has {file_size} bytes, not even the eight of a header length")
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if length > file_size - PREFIX_BYTES:
        _refuse(what, f"announces a header of {length} bytes, but has {file_size} bytes in all")
    if length > MAX_HEADER_BYTES:
        raise DomainError(
            Reason.LIMIT_EXCEEDED,
            f"{what} has a header of {length} bytes; at most {MAX_HEADER_BYTES} are read. Split it into shards.",
        )
    return length


def parse_header(header: bytes, *, file_size: int, what: str) -> tuple[TensorEntry, ...]:
    """Read the JSON of a header and hold it against the size of the whole file.

    Args:
        header: the N bytes after the length.
        file_size: bytes of the whole file.
        what: the file's name, for error texts.

    Returns:
        The tensors in the order of their bytes.

    Raises:
        DomainError: SAFETENSORS_INVALID, saying what is wrong.
    """
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(what, "has a header that is not UTF-8")
    entries = _Scanner(text, what, data_start=PREFIX_BYTES + len(header)).header()
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_layout(entries, PREFIX_BYTES + len(header), file_size, what)
    return tuple(entries)


def _check_layout(entries: list[TensorEntry], start: int, file_size: int, what: str) -> None:
    position = start
    for entry in entries:
        if entry.begin != position:
            fault = "overlaps the tensor before it" if entry.begin < position else "leaves a hole before it"
            _refuse(what, f"places {entry.name!r} where it {fault}")
        position = entry.end
        if position > file_size:
            break
    if position != file_size:
        _refuse(what, f"should have {position} bytes by its header, but has {file_size}: truncated or overlong")


class _Scanner:
    """Recursive descent over the one grammar a header has."""

    def __init__(self, text: str, what: str, *, data_start: int) -> None:
        self._text = text
        self._what = what
        self._data_start = data_start
        self._position = 0

    def header(self) -> list[TensorEntry]:
        if not self._text.startswith("{"):
            _refuse(self._what, "has a header that is not a JSON object")
        entries: list[TensorEntry] = []
        for key in self._object():
            if key == METADATA_KEY:
                self._metadata()
            else:
                entries.append(self._entry(key))
        if self._text[self._position :].strip(" "):
            _refuse(self._what, "has something after the JSON of its header")
        return entries

    def _entry(self, name: str) -> TensorEntry:
        if not name or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
            _refuse(self._what, f"has a tensor whose name is empty or longer than {MAX_NAME_BYTES} bytes")
        dtype = ""
        shape: tuple[int, ...] = ()
        offsets: tuple[int, ...] = ()
        found: set[str] = set()
        for key in self._object():
            found.add(key)
            if key == "dtype":
                dtype = self._string()
            elif key == "shape":
                shape = self._integers(MAX_RANK)
            elif key == "data_offsets":
                offsets = self._integers(2)
            else:
                _refuse(self._what, f"says {key[:80]!r} of {name!r}, which the format does not know")
        if found != ENTRY_KEYS or len(offsets) != 2:
            _refuse(self._what, f"does not give dtype, shape and two data_offsets for {name!r}")
        begin, end = offsets
        self._check_size(name, dtype, shape, end - begin)
        return TensorEntry(name, dtype, shape, self._data_start + begin, self._data_start + end)

    def _check_size(self, name: str, dtype: str, shape: tuple[int, ...], length: int) -> None:
        if dtype not in BITS:
            _refuse(self._what, f"gives {name!r} the unknown dtype {dtype[:40]!r}")
        bits = math.prod(shape) * BITS[dtype]
        if bits % 8 or bits // 8 != length:
            _refuse(self._what, f"gives {name!r} {length} bytes, but {dtype}{list(shape)} takes {bits / 8:g}")

    def _metadata(self) -> None:
        for _ in self._object():
            self._string()

    def _object(self) -> Iterator[str]:
        """The keys of one object, each once; the caller reads the value before it asks for the next."""
        seen: set[str] = set()
        for _ in self._items("{", "}"):
            key = self._string()
            if key in seen:
                _refuse(self._what, f"has the key {key[:80]!r} twice")
            seen.add(key)
            self._mark(":")
            yield key

    def _integers(self, limit: int) -> tuple[int, ...]:
        values: list[int] = []
        for _ in self._items("[", "]"):
            if len(values) == limit:
                _refuse(self._what, f"has a list of more than {limit} numbers")
            values.append(self._number())
        return tuple(values)

    def _items(self, opening: str, closing: str) -> Iterator[None]:
        self._mark(opening)
        if self._peek(closing):
            return
        while True:
            yield
            if self._peek(closing):
                return
            self._mark(",")

    def _peek(self, mark: str) -> bool:
        match = _TOKEN.match(self._text, self._position)
        if match and match["mark"] == mark:
            self._position = match.end()
            return True
        return False

    def _mark(self, mark: str) -> None:
        if not self._peek(mark):
            self._unexpected(f"{mark!r}")

    def _string(self) -> str:
        token = self._take("string", "a string")
        if "\\" not in token:
            return token[1:-1]
        return self._decode(token)

    def _decode(self, token: str) -> str:
        try:
            value = str(json.loads(token))
            value.encode("utf-8")
        except ValueError:
            self._unexpected("a well-formed string")
        return value

    def _number(self) -> int:
        return int(self._take("number", "a whole number"))

    def _take(self, kind: str, wanted: str) -> str:
        match = _TOKEN.match(self._text, self._position)
        if match is None or match[kind] is None:
            self._unexpected(wanted)
        self._position = match.end()
        return str(match[kind])

    def _unexpected(self, wanted: str) -> NoReturn:
        near = self._text[self._position : self._position + 20]
        _refuse(self._what, f"has a malformed header: {wanted} expected at character {self._position}, found {near!r}")


def _refuse(what: str, fault: str) -> NoReturn:
    raise DomainError(Reason.SAFETENSORS_INVALID, f"{what} {fault}. Download or write the file again.", {"file": what})
