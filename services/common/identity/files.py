"""Files of a base, opened once: regular files only, read within a limit, recognised again by their stat."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.common.errors import DomainError, Reason

__all__ = ["FileIdentity", "OpenFile", "read_file"]


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the kernel says of a file without reading it; changes when the file is written or replaced."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """Identity of an open file."""
        status = os.fstat(descriptor)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class OpenFile:
    """An open regular file and its identity at the moment of opening."""

    def __init__(self, path: Path) -> None:
        """Open for reading.

        Raises:
            DomainError: BASE_NOT_A_MODEL where it is absent, unreadable or no regular file.
        """
        self.path = path
        self.name = path.name
        self._descriptor = _open(path)
        self.identity = FileIdentity.of(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``; fewer only at the end of the file."""
        parts: list[bytes] = []
        while length > 0:
            try:
                part = os.pread(self._descriptor, length, offset)
            except OSError as error:
                raise _unreadable(self.path, error) from None
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer from ``offset`` as far as one read reaches; answers the bytes read."""
        try:
            return os.preadv(self._descriptor, [buffer], offset)
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def check_unchanged(self) -> None:
        """Hold the file against its identity at opening.

        Raises:
            DomainError: BASE_FILES_INCONSISTENT where it was written since.
        """
        if FileIdentity.of(self._descriptor) != self.identity:
            raise DomainError(
                Reason.BASE_FILES_INCONSISTENT,
                f"{self.path} was changed while it was read. Let the writer finish, then try again.",
                {"file": self.name},
            )

    def close(self) -> None:
        """Close the descriptor; harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_file(path: Path, limit: int) -> bytes:
    """The whole of a regular file of at most ``limit`` bytes.

    Raises:
        DomainError: BASE_NOT_A_MODEL where it cannot be read, LIMIT_EXCEEDED where it is longer.
    """
    file = OpenFile(path)
    try:
        if file.identity.size > limit:
            raise DomainError(
                Reason.LIMIT_EXCEEDED, f"{path} has {file.identity.size} bytes; at most {limit} are read."
            )
        return file.read(0, file.identity.size)
    finally:
        file.close()


def _open(path: Path) -> int:
    # O_NONBLOCK: opening a FIFO that somebody put there must not hang.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DomainError(Reason.BASE_NOT_A_MODEL, f"{path} is not a regular file. Put the model's file there.")
    return descriptor


def _unreadable(path: Path, error: OSError) -> DomainError:
    return DomainError(Reason.BASE_NOT_A_MODEL, f"{path} cannot be read: {error.strerror}. Check path and permissions.")
