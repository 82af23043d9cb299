"""The file that an expansion becomes: the rows as they were given, then what was made from them, in their order."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cli.expansion.sources import Expansion
from cli.suite.files import write_atomically
from services.common.errors import DomainError, Reason

SAVE_SECONDS: Final = 30.0
"""Seconds of work that are lost at most where the command is killed."""

_MODE: Final = 0o666
"""Before the user's mask."""


class Result:
    """Writes the file whole, now and then, and at the end."""

    def __init__(self, file: Path, expansion: Expansion) -> None:
        self.file = file
        self._expansion = expansion
        self._written = expansion.variant_count if file.exists() else 0
        # The first row is written at once: a file that cannot be written is told before a model has worked for hours.
        self._saved = float("-inf")

    def save_now_and_then(self) -> None:
        """Write the file where it was not written for a while.

        Raises:
            DomainError: INVALID_ARGUMENT; it cannot be written.
        """
        if time.monotonic() > self._saved + SAVE_SECONDS:
            self.save()

    def save(self) -> int:
        """Write the file where there is anything new; returns how many rows were made, by earlier runs too.

        Raises:
            DomainError: INVALID_ARGUMENT; it cannot be written.
        """
        count = self._expansion.variant_count
        if count > self._written:
            try:
                write_atomically(self.file, "".join(self._lines()), mode=_MODE)
            except OSError as error:
                text = f"Cannot write {self.file}: {error.strerror}. Choose another file."
                raise DomainError(Reason.INVALID_ARGUMENT, text) from None
            self._written = count
        self._saved = time.monotonic()
        return count

    def _lines(self) -> Iterator[str]:
        original = self._expansion.original
        for row in original.rows:
            yield row.line + "\n"
        for digest in original.genuine:
            for line in self._expansion.variants.get(digest, ()):
                yield line + "\n"
