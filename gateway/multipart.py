"""multipart/form-data (RFC 7578) as a stream: fields as they come, and the file piece by piece, held nowhere."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.common.errors import DomainError, Reason, Violation

if TYPE_CHECKING:
    # Is there for type checkers only.
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES: Final = 64 * 1024
MAX_PARTS: Final = 32


@dataclass(frozen=True, slots=True)
class FormField:
    """A field that is no file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileStart:
    """A file begins; its pieces follow."""

    name: str
    filename: str


@dataclass(frozen=True, slots=True)
class FilePiece:
    """The next bytes of the file."""

    data: bytes


Part = FormField | FileStart | FilePiece


async def read_form(request: Request) -> AsyncIterator[Part]:
    """Yield what a form holds, in the order in which it was sent.

    Raises:
        DomainError: INVALID_ARGUMENT: not a form, malformed or cut off; LIMIT_EXCEEDED: a field too long.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise _malformed("send Content-Type: multipart/form-data with a boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            for part in reader.take():
                yield part
        parser.finalize()
    except FormParserError:
        raise _malformed("its parts do not follow RFC 7578, or it was cut off") from None
    if not reader.complete:
        raise _malformed("it was cut off before the closing boundary")


class _Reader:
    """Collects what the parser finds in one chunk."""

    def __init__(self) -> None:
        self.complete = False
        self._found: list[Part] = []
        self._parts = 0
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._field_name = ""
        self._field: bytearray | None = None

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_end": self._on_end,
        }

    def take(self) -> list[Part]:
        found, self._found = self._found, []
        return found

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _malformed("a part has no name in its Content-Disposition")
        self._field_name = _text(options[b"name"])
        if b"filename" in options:
            self._field = None
            self._found.append(FileStart(self._field_name, _text(options[b"filename"])))
        else:
            self._field = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._found.append(FilePiece(data[start:end]))
            return
        self._field += data[start:end]
        if len(self._field) > MAX_FIELD_BYTES:
            text = (
                f"The form's field {self._field_name!r} is longer than the {MAX_FIELD_BYTES} bytes that are accepted."
            )
            raise DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(MAX_FIELD_BYTES)})

    def _on_part_end(self) -> None:
        if self._field is not None:
            self._found.append(FormField(self._field_name, _text(bytes(self._field))))

    def _on_end(self) -> None:
        self.complete = True


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _malformed("a name or field is not UTF-8") from None


def _malformed(why: str) -> DomainError:
    text = f"The form is not valid: {why}."
    return DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("body", text)])
