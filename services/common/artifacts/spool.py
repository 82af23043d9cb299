"""Bytes that wait until their digest is known."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import BinaryIO, cast

from services.common.artifacts import failures
from services.common.artifacts.atomic import ErrorContext


class Spool:
    """Written once, then read once: in memory while small, then in a temporary file without a name.

    The file is gone with its process, however that ends. It lies in TMPDIR, which should be a disk, not memory.
    """

    def __init__(self, file: BinaryIO, errors: ErrorContext) -> None:
        """Wrap an empty temporary file; `errors` makes the context of each access to its disk."""
        self._file = file
        self._errors = errors

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        with self._errors():
            self._file.write(chunk)

    def rewound(self) -> BinaryIO:
        """Return the file, to be read from its start."""
        with self._errors():
            self._file.seek(0)
        return self._file


@contextmanager
def spool(memory_bytes: int) -> Iterator[Spool]:
    """Open a spool that keeps up to `memory_bytes` off the disk.

    Raises:
        DomainError: ARTIFACT_STORE_FULL or DATA_DIRECTORY_UNUSABLE for the disk of temporary files.
    """
    errors = partial(failures.local_disk_errors, tempfile.gettempdir())
    with errors():
        file = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=memory_bytes))  # noqa: SIM115 - closed below
    try:
        yield Spool(file, errors)
    finally:
        with suppress(OSError):  # closing writes what is left, for which a full disk has no room
            file.close()
