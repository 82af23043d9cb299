"""A form with the files of an adapter on its way to the trainer."""

from collections.abc import AsyncIterator

from gateway.multipart import FilePiece, FileStart, FormField, Part
from gateway.uploads import full_chunks, require


class AdapterForm:
    """Reads the field ``base_model`` and the files that follow it."""

    def __init__(self, parts: AsyncIterator[Part]) -> None:
        """Read a form."""
        self._parts = parts
        self._first: FileStart | None = None

    async def open(self) -> str:
        """Read up to the first file, and return ``base_model``.

        Raises:
            DomainError: INVALID_ARGUMENT: no base, no file, or an unknown field.
        """
        base_model: str | None = None
        async for part in self._parts:
            if isinstance(part, FileStart):
                self._first = part
                break
            if isinstance(part, FormField):
                require(part.name == "base_model", part.name, "unknown parameter")
                require(base_model is None, part.name, "is given twice")
                base_model = part.value
        require(base_model is not None, "base_model", "is required, and must come before the files in the form")
        require(self._first is not None, "file", "is required")
        return base_model or ""

    async def files(self) -> AsyncIterator[FileStart | bytes]:
        """Each file's beginning, then its bytes in chunks; ends only if the whole form is as it should be.

        Raises:
            DomainError: INVALID_ARGUMENT; LIMIT_EXCEEDED.
        """
        if self._first is not None:
            yield _checked(self._first)
        buffer = bytearray()
        async for part in self._parts:
            if isinstance(part, FilePiece):
                buffer += part.data
                for chunk in full_chunks(buffer):
                    yield chunk
                continue
            if buffer:
                yield bytes(buffer)
                buffer.clear()
            if isinstance(part, FormField):
                require(False, part.name, "no field may follow the files")
            else:
                yield _checked(part)
        if buffer:
            yield bytes(buffer)


def _checked(file: FileStart) -> FileStart:
    require(file.name == "file", file.name, "unknown parameter; the files' field is called file")
    return file
