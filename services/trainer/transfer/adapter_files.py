"""Files of an adapter on their way in: written to a private directory within limits, gone when the import is over."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from services.common.errors import DomainError, Reason, Violation
from services.common.manifest import MAX_FILES, is_file_name
from services.common.settings import MIB

T = TypeVar("T")

WEIGHTS_SUFFIX: Final = ".safetensors"
MAX_DOCUMENT_BYTES: Final = 2 * MIB
"""Of every file but weights: as much as the largest of them, an envelope, may have."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """The next file begins.

    Attributes:
        name: as sent; may be anything.
    """

    name: str


Part = NewFile | bytes
"""A file's beginning, or the next bytes of the file begun last."""


@asynccontextmanager
async def received_files(parts: AsyncIterator[Part], *, directory: Path | None, max_bytes: int) -> AsyncIterator[Path]:
    """Write what arrives to files of a directory that is gone when the block ends, however it ends.

    Args:
        parts: the files.
        directory: where to make the directory; None is the system's temporary directory.
        max_bytes: of all files together.

    Raises:
        DomainError: INVALID_ARGUMENT: a name that is no plain file name, or twice the same; LIMIT_EXCEEDED;
            ARTIFACT_STORE_FULL where the disk is full.
    """
    with_folder = ExitStack()
    try:
        # Entered in the thread: a folder that is made after the cancellation is removed too. Its mode is 0700.
        make = partial(tempfile.TemporaryDirectory, prefix="tenon-import-", dir=directory)
        folder = Path(await _to_its_end(lambda: with_folder.enter_context(make())))
        writer = _Writer(folder, max_bytes)
        try:
            async for part in parts:
                await (writer.begin(part.name) if isinstance(part, NewFile) else writer.write(part))
        finally:
            await writer.close()
        yield folder
    finally:
        await asyncio.to_thread(with_folder.close)


class _Writer:
    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._names: set[str] = set()
        self._name = ""
        self._file: BinaryIO | None = None
        self._left_of_file = 0

    async def begin(self, name: str) -> None:
        await self.close()
        self._admit(name)
        self._names.add(name)
        self._name = name
        self._left_of_file = self._left if name.endswith(WEIGHTS_SUFFIX) else MAX_DOCUMENT_BYTES
        await _on_disk(self._open, self._directory / name)

    def _open(self, path: Path) -> None:
        # Kept by the thread that opens it: a call cancelled meanwhile has no one else to close it.
        self._file = path.open("xb")

    async def write(self, chunk: bytes) -> None:
        if self._file is None:
            raise _invalid("chunk", "bytes come before the first file")
        self._left -= len(chunk)
        self._left_of_file -= len(chunk)
        if self._left < 0:
            text = f"The adapter's files are larger than the {self._max_bytes} bytes that are accepted together."
            raise _limit_exceeded(text, self._max_bytes)
        if self._left_of_file < 0:
            text = f"{self._name} is larger than the {MAX_DOCUMENT_BYTES} bytes that are accepted of such a file."
            raise _limit_exceeded(text, MAX_DOCUMENT_BYTES)
        await _on_disk(self._file.write, chunk)

    async def close(self) -> None:
        if self._file is not None:
            # What was written is flushed here, for which a full disk has no room.
            await _on_disk(self._file.close)
            self._file = None

    def _admit(self, name: str) -> None:
        if not is_file_name(name):
            text = f"{name[:80]!r} is not a plain file name: letters, digits, '.', '_' and '-', and no folders"
            raise _invalid("file.path", text)
        if name in self._names:
            raise _invalid("file.path", f"{name} is sent twice")
        if len(self._names) >= MAX_FILES:
            text = (
                f"The adapter has more than the {MAX_FILES} files that are accepted. Send only those that belong to it."
            )
            raise _limit_exceeded(text, MAX_FILES)


async def _on_disk(call: Callable[..., T], *arguments: object) -> T:
    try:
        return await _to_its_end(lambda: call(*arguments))
    except OSError as error:
        text = f"The adapter cannot be written to this server's disk: {error.strerror}."
        raise DomainError(Reason.ARTIFACT_STORE_FULL, text) from error


async def _to_its_end(call: Callable[[], T]) -> T:
    """Run a blocking call in a thread and, cancelled or not, return only once it is over.

    A thread that goes on alone could make a file in the directory while that is being removed.
    """
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _limit_exceeded(text: str, limit: int) -> DomainError:
    return DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(limit)})


def _invalid(field: str, text: str) -> DomainError:
    return DomainError(
        Reason.INVALID_ARGUMENT, f"The stream is not valid: {text}.", violations=[Violation(field, text)]
    )
