"""Counts how many of many rows are different, exactly, in memory that does not grow with them."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self

import numpy as np
from numpy.typing import NDArray

from services.common.errors import DomainError, Reason

RUN: Final = 1 << 20
"""Digests kept in memory before they are sorted and written to a file."""

DIGEST_BYTES: Final = 8

_BUCKETS: Final = 256
_STARTS: Final = np.arange(_BUCKETS, dtype=np.uint64) << np.uint64(56)

Digests = NDArray[np.uint64]


class DistinctCounter:
    """Digests of 64 bits, counted once each.

    Every RUN of them is sorted and written to a file; at the end the runs are merged by ranges of values, so that memory
    stays at some 15 MB. Two different rows get the same digest with odds of one in 2^64: that a count over a million rows
    is wrong has odds of one in 37 million, over a hundred million rows of one in 3,700.
    """

    def __init__(self, directory: Path) -> None:
        """Start empty.

        Args:
            directory: where runs are written, to a file that has no name and is gone once this is closed.
        """
        self.total = 0
        self._directory = directory
        self._digests = bytearray()
        self._files = ExitStack()
        self._file: IO[bytes] | None = None
        # Of each run: where in the file each bucket of it starts, and where the last one ends.
        self._runs: list[list[int]] = []
        self._written = 0

    def __enter__(self) -> Self:
        """Count; what was written is gone when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._files.close()

    def add(self, digest: bytes) -> None:
        """Count a digest of eight bytes.

        Raises:
            DomainError: ARTIFACT_STORE_FULL; the disk takes no more.
        """
        self.total += 1
        self._digests += digest
        if len(self._digests) == RUN * DIGEST_BYTES:
            self._write_run()

    def distinct(self) -> int:
        """Return how many different digests were added.

        Raises:
            DomainError: ARTIFACT_STORE_FULL.
        """
        if self._file is None:
            return len(np.unique(np.frombuffer(self._digests, np.uint64)))
        self._write_run()
        descriptor = self._file.fileno()
        return sum(self._distinct_in(descriptor, bucket) for bucket in range(_BUCKETS))

    def _distinct_in(self, descriptor: int, bucket: int) -> int:
        parts = [os.pread(descriptor, run[bucket + 1] - run[bucket], run[bucket]) for run in self._runs]
        return len(np.unique(np.frombuffer(b"".join(parts), np.uint64)))

    def _write_run(self) -> None:
        # In place and without a copy: this is where a check takes the most memory.
        digests: Digests = np.frombuffer(self._digests, np.uint64)
        digests.sort()
        places = [*np.searchsorted(digests, _STARTS).tolist(), len(digests)]
        try:
            if self._file is None:
                self._file = self._files.enter_context(tempfile.TemporaryFile(dir=self._directory))  # noqa: SIM115 - it is
            self._file.write(digests.data)
            self._file.flush()
        except OSError as error:
            text = f"The rows cannot be compared with one another: this server's disk takes no more ({error.strerror})."
            raise DomainError(Reason.ARTIFACT_STORE_FULL, text) from error
        self._runs.append([self._written + DIGEST_BYTES * place for place in places])
        self._written += digests.nbytes
        self._digests = bytearray()
