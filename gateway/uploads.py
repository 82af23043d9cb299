"""A form with a file on its way to the trainer: the first bytes are there before the last have arrived here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from gateway.multipart import FilePiece, FileStart, FormField, Part
from services.common.errors import DomainError, Reason, Violation
from services.common.settings import MIB

M = TypeVar("M")
T = TypeVar("T")

CHUNK_BYTES: Final = MIB
"""Most bytes of one message."""

ACCEPTED_FIELDS: Final = frozenset({"purpose", "format"})


async def chunked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join and split pieces of any size into chunks of ``CHUNK_BYTES``; only the last is shorter."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        for chunk in full_chunks(buffer):
            yield chunk
    if buffer:
        yield bytes(buffer)


def full_chunks(buffer: bytearray) -> Iterator[bytes]:
    """Take whole chunks off the front of a buffer."""
    while len(buffer) >= CHUNK_BYTES:
        yield bytes(buffer[:CHUNK_BYTES])
        del buffer[:CHUNK_BYTES]


@dataclass
class UploadForm:
    """Reads the fields ``purpose`` and ``format`` and the file of a form.

    Attributes:
        parts: the form.
        filename: as sent, once ``open`` has returned.
        fields: those read so far.
    """

    parts: AsyncIterator[Part]
    filename: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    async def open(self) -> None:
        """Read up to the file.

        Raises:
            DomainError: INVALID_ARGUMENT: no file, or an unknown field.
        """
        async for part in self.parts:
            if isinstance(part, FileStart):
                require(part.name == "file", part.name, "unknown parameter; the file's field is called file")
                self.filename = part.filename
                return
            if isinstance(part, FormField):
                self._add(part)
        require(False, "file", "is required")

    async def file(self) -> AsyncIterator[bytes]:
        """The file's pieces; ends only if the whole form, what follows the file included, is as it should be.

        Raises:
            DomainError: INVALID_ARGUMENT; LIMIT_EXCEEDED.
        """
        async for part in self.parts:
            if isinstance(part, FilePiece):
                yield part.data
            elif isinstance(part, FormField):
                require(part.name != "format", "format", "must come before the file in the form")
                self._add(part)
            else:
                require(False, part.name, "one file at a time")
        purpose = self.fields.get("purpose")
        require(purpose is not None, "purpose", "is required")
        require(purpose == "fine-tune", "purpose", f"is {purpose!r}; only 'fine-tune' is known")

    def _add(self, part: FormField) -> None:
        require(part.name in ACCEPTED_FIELDS, part.name, "unknown parameter")
        require(part.name not in self.fields, part.name, "is given twice")
        self.fields[part.name] = part.value


class GuardedStream(Generic[M]):
    """Messages on their way into a call. Where they fail, the call is cut off and their error is raised.

    gRPC would swallow that error, and a stream that merely ended would be taken for the whole file.
    """

    def __init__(self, messages: AsyncIterator[M]) -> None:
        """Guard these messages."""
        self._messages = messages
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aiter__(self) -> AsyncIterator[M]:
        """The messages; after a failure, nothing more and no end."""
        try:
            async for message in self._messages:
                yield message
        # Whatever it is, it is raised where the call is awaited.
        except Exception as error:  # noqa: BLE001
            self._failure.set_exception(error)
            # Where the call failed first, nobody else asks for it.
            self._failure.exception()
            await asyncio.Event().wait()

    async def unless_failed(self, answer: Awaitable[T]) -> T:
        """Wait for what the call answers, or raise why the messages failed."""
        task = asyncio.ensure_future(answer)
        try:
            waiting: set[asyncio.Future[Any]] = {task, self._failure}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                self._failure.result()
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def require(good: bool, name: str, text: str) -> None:
    """Refuse a form.

    Raises:
        DomainError: INVALID_ARGUMENT naming the field.
    """
    if not good:
        raise DomainError(
            Reason.INVALID_ARGUMENT, f"{name}: {text}.", {"field": name}, violations=[Violation(name, text)]
        )
