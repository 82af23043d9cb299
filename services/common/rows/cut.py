"""Cuts a file into rows without parsing them: JSON Lines, or one JSON array.

Rows are cut by bytes, so that a row that is not UTF-8 or not JSON does not hide the ones after it. At most one row is in
memory. In UTF-8 the bytes looked for here occur in no multi-byte character.
"""

import re
from collections.abc import Iterator
from typing import IO, BinaryIO, Final, NamedTuple

from services.common.rows.model import Fault

CHUNK: Final = 1 << 18
WHITESPACE: Final = b" \t\r\n"
UTF8_BOM: Final = b"\xef\xbb\xbf"
UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")

_STRING: Final = rb'"[^"]*+(?:(?<=[^\\]\\)"[^"]*+)*+(?<!\\)"'
"""Runs from quote to quote, which is ten times as fast as looking at each character. Where two backslashes stand before a
quote it takes counting to tell whether it ends the string, so then nothing matches."""


def _nested(depth: int) -> bytes:
    """Brackets with strings and other brackets inside, to this depth; of which kind they are is the parser's matter."""
    inside = rb'[^"{}\[\]]++|' + _STRING + (b"|" + _nested(depth - 1) if depth else b"")
    return rb"[{\[](?:" + inside + rb")*+[}\]]"


WHOLE_ELEMENT: Final = re.compile(rb"[ \t\r\n]*+(" + _nested(4) + rb")[ \t\r\n]*+,", re.DOTALL)
"""An element of an array and the comma behind it. What does not match, such as one that a chunk cuts, is walked through.

Possessive, so that it takes time in proportion to what it reads whatever that is.
"""

OUTSIDE_STRING: Final = re.compile(rb'["{}\[\],]')
INSIDE_STRING: Final = re.compile(rb'["\\]')


class RawRow(NamedTuple):
    """The bytes of one row.

    Attributes:
        line: line in the file where it starts, from 1.
        row: position among the rows, from 1.
        offset: bytes of the file before it.
        data: the row, without the separators around it.
    """

    line: int
    row: int
    offset: int
    data: bytes


def split_rows(file: BinaryIO, max_row_bytes: int) -> Iterator[RawRow | Fault]:
    """Yield the rows of a seekable file and a Fault for each that cannot be cut out.

    A file whose first character is ``[`` is read as one JSON array, any other as JSON Lines.
    """
    head = file.read(len(UTF8_BOM))
    if head.startswith(UTF16_BOMS):
        yield Fault(1, 1, "", "The file is UTF-16. Save it as UTF-8.")
        return
    start = len(UTF8_BOM) if head == UTF8_BOM else 0
    file.seek(start)
    is_array = _first_byte(file) == b"["
    file.seek(start)
    yield from _ArraySplitter(file, max_row_bytes, start) if is_array else split_lines(file, max_row_bytes, start)


def _first_byte(file: BinaryIO) -> bytes:
    while chunk := file.read(CHUNK):
        if text := chunk.lstrip(WHITESPACE):
            return text[:1]
    return b""


def split_lines(file: IO[bytes], max_row_bytes: int, start: int) -> Iterator[RawRow | Fault]:
    """Yield the rows of JSON Lines and a Fault for each that is too long, from byte ``start`` of the file on."""
    line, row, offset = 0, 0, start
    while data := file.readline(max_row_bytes + 1):
        line += 1
        length = len(data)
        if length > max_row_bytes and not data.endswith(b"\n"):
            rest, line_end = _skip_line(file)
            length += rest + line_end
            row += 1
            yield too_long(line, row, length - line_end, max_row_bytes)
        elif text := data.strip(WHITESPACE):
            row += 1
            yield RawRow(line, row, offset + data.index(text[:1]), text)
        offset += length


def _skip_line(file: IO[bytes]) -> tuple[int, int]:
    """Read on to the next line: the bytes of this one, and of its end."""
    length = 0
    while part := file.readline(CHUNK):
        length += len(part)
        if part.endswith(b"\n"):
            return length - 1, 1
    return length, 0


def too_long(line: int, row: int, length: int, limit: int) -> Fault:
    """Say that a row exceeds the limit."""
    reason = (
        f"The row is {length:,} bytes long; at most {limit:,} are allowed. Shorten it or split it into several rows."
    )
    return Fault(line, row, "", reason)


class _ArraySplitter:
    """Walks over a JSON array from bracket to bracket and cuts it at the commas of its own level."""

    def __init__(self, file: BinaryIO, max_row_bytes: int, start: int) -> None:
        self._file = file
        self._limit = max_row_bytes
        self._line = 1
        self._row = 0
        self._offset = start
        # Of the element being read: its bytes while they are few enough, how many there are, and their line ends.
        self._data = bytearray()
        self._length = 0
        self._newlines = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._closed = False

    def __iter__(self) -> Iterator[RawRow | Fault]:
        while chunk := self._file.read(CHUNK):
            yield from self._feed(chunk)
            if self._closed and self._data.strip(WHITESPACE):
                yield Fault(self._line, 0, "", "There is text after the array's closing bracket. Remove it.")
                return
        if not self._closed:
            reason = "The file is cut off: the array, or a string or bracket in its last row, is never closed."
            yield Fault(self._line + self._leading_lines(), self._row + 1, "", reason)

    def _feed(self, chunk: bytes) -> Iterator[RawRow | Fault]:
        kept = position = 0
        if self._escaped:
            position, self._escaped = 1, False
        while True:
            # Only where nothing of the next element was read yet.
            if kept == position and self._is_between and (whole := WHOLE_ELEMENT.match(chunk, position)):
                yield self._cut_whole(chunk, whole)
                kept = position = whole.end()
                continue
            found = (INSIDE_STRING if self._in_string else OUTSIDE_STRING).search(chunk, position)
            if not found:
                break
            at, position = found.start(), found.end()
            mark = chunk[at:position]
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"\\":
                position += 1
                self._escaped = position > len(chunk)
            elif self._cuts(mark):
                self._keep(chunk[kept:at])
                yield from self._cut(mark)
                kept = position
        self._keep(chunk[kept:])

    @property
    def _is_between(self) -> bool:
        return self._depth == 1 and not (self._length or self._closed or self._in_string)

    def _cut_whole(self, chunk: bytes, found: re.Match[bytes]) -> RawRow | Fault:
        start, (first, last), end = found.start(), found.span(1), found.end()
        row, length = self._row + 1, end - start
        line = self._line + chunk.count(b"\n", start, first)
        offset = self._offset + first - start
        self._row, self._offset = row, self._offset + length
        self._line += chunk.count(b"\n", start, end)
        if length - 1 > self._limit:
            return too_long(line, row, length - 1, self._limit)
        return RawRow(line, row, offset, chunk[first:last])

    def _cuts(self, mark: bytes) -> bool:
        """Follow the nesting; True where an element starts or ends. A bracket too many stays in its element."""
        if self._closed:
            return False
        if mark in b"[{":
            self._depth += 1
            return self._depth == 1
        if mark == b",":
            return self._depth == 1
        if self._depth == 1:
            return mark == b"]"
        self._depth -= 1
        return False

    def _keep(self, part: bytes) -> None:
        self._length += len(part)
        self._newlines += part.count(b"\n")
        if len(self._data) <= self._limit:
            self._data += part

    def _cut(self, mark: bytes) -> Iterator[RawRow | Fault]:
        if mark == b"[":
            self._advance(1)
            return
        text = self._data.strip(WHITESPACE)
        self._closed = mark == b"]"
        if text or mark == b"," or self._row:
            self._row += 1
            yield self._element(bytes(text))
        self._advance(1)

    def _element(self, text: bytes) -> RawRow | Fault:
        line = self._line + self._leading_lines()
        if len(self._data) > self._limit:
            return too_long(line, self._row, self._length, self._limit)
        if not text:
            return Fault(line, self._row, "", "There is no row between two commas, or after the last one.")
        return RawRow(line, self._row, self._offset + self._data.index(text[:1]), text)

    def _leading_lines(self) -> int:
        blank = len(self._data) - len(self._data.lstrip(WHITESPACE))
        return self._data.count(b"\n", 0, blank)

    def _advance(self, mark_length: int) -> None:
        self._line += self._newlines
        self._offset += self._length + mark_length
        self._data.clear()
        self._length = self._newlines = 0
