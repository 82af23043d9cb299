"""Bytes on their way from a file and to one: a bar on a terminal, nothing elsewhere, and errors that name the file."""

import errno
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.output import EXIT_FAILED, CommandError, stderr_console
from services.common.errors import DomainError, Reason

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LEAST_BYTES: Final = 1024 * 1024
"""What is smaller is there before a bar is."""


def byte_bar(size: int) -> Progress:
    """Make a bar of bytes for so many of them; what scripts read, stdout, stays free of it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = sys.stderr.isatty() and size >= _LEAST_BYTES
    return Progress(*columns, console=stderr_console(), disable=not shown, transient=True)


@contextmanager
def reading(file: Path) -> Iterator[IO[Any]]:
    """A file to be sent.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    try:
        stream = file.open("rb")
        size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise _unreadable(file, error) from None
    with stream, byte_bar(size) as bar:
        yield stream if bar.disable else bar.wrap_file(stream, total=size, description=file.name)


def passing(chunks: Iterable[bytes], size: int, name: str) -> Iterator[bytes]:
    """Bytes as they come, counted on a bar.

    Args:
        chunks: the bytes.
        size: how many they will be.
        name: what to call them.
    """
    with byte_bar(size) as bar:
        task = bar.add_task(name, total=size)
        for chunk in chunks:
            yield chunk
            bar.advance(task, len(chunk))


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A path beside the target that takes its name at the end of the block, or vanishes if it is a file.

    Raises:
        CommandError: as of `unwritable`.
        DomainError: the same.
    """
    pending = beside(target)
    try:
        yield pending
        pending.replace(target)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        pending.unlink(missing_ok=True)


def beside(target: Path) -> Path:
    """A new name in the directory of a target."""
    return target.absolute().with_name(f".{target.absolute().name}-{secrets.token_hex(8)}")


def unwritable(target: Path, error: OSError) -> DomainError | CommandError:
    """The error of what cannot be written; a disk that is full is no fault of the command's."""
    text = f"{target} cannot be written, and nothing was kept: {error.strerror}."
    if error.errno in _FULL:
        full = DomainError(Reason.LIMIT_EXCEEDED, f"{text} Free some space, or name a place on another disk.")
        return CommandError(full, EXIT_FAILED)
    return DomainError(Reason.INVALID_ARGUMENT, f"{text} Name a place that you may write to.")


def _unreadable(file: Path, error: OSError) -> DomainError:
    advice = {
        errno.ENOENT: "Check its spelling.",
        errno.EISDIR: "Name a file in it.",
        errno.EACCES: "Make it readable for you, or copy it.",
    }.get(error.errno or 0, "")
    return DomainError(Reason.INVALID_ARGUMENT, f"Cannot read {file}: {error.strerror}. {advice}".rstrip())
