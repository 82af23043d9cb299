"""Files that appear whole or not at all, and stay after a power cut once they have appeared."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

ErrorContext: TypeAlias = Callable[[], AbstractContextManager[None]]

PARTIAL_PREFIX = ".partial-"
"""How the names of unfinished files begin; a killed process leaves such files behind."""


class PendingFile:
    """A file on its way: written under a passing name, then given its own by `commit`.

    `errors` makes the context in which each access to the disk runs. It is not the caller's `with` block: the bytes may
    come from a caller's iterator, whose own OSErrors say nothing about this disk.
    """

    def __init__(self, directory: Path, errors: ErrorContext, prefix: str = PARTIAL_PREFIX) -> None:
        """Create the file in `directory`, which must be on the file system of its later place."""
        self._errors = errors
        self._path = directory / f"{prefix}{secrets.token_hex(16)}"
        with errors():
            self._file: BinaryIO = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        with self._errors():
            self._file.write(chunk)

    def flush(self) -> None:
        """Hand what was written to the operating system, so that a full or read-only disk shows."""
        with self._errors():
            self._file.flush()

    def commit(self, destination: Path) -> None:
        """Make the bytes durable, then give them their name, replacing what has it."""
        with self._errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(destination)
            sync_directory(destination.parent)

    def discard(self) -> None:
        """Remove the file, unless it was committed; a disk that is gone has nothing to remove."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink()


@contextmanager
def pending_file(directory: Path, errors: ErrorContext, prefix: str = PARTIAL_PREFIX) -> Iterator[PendingFile]:
    """Open a `PendingFile` that is discarded at the end unless it was committed."""
    pending = PendingFile(directory, errors, prefix)
    try:
        yield pending
    finally:
        pending.discard()


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: fsync of a file says nothing about its name."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, *, within: Path) -> None:
    """Create `directory` and its missing parents below `within`, durably; `within` itself is never created."""
    if directory == within or directory.is_dir():
        return
    make_directory(directory.parent, within=within)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    sync_directory(directory.parent)
