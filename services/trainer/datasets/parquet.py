"""Parquet files as rows of JSON, by a reader in a process of its own (``parquet_reader``)."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from services.common.errors import DomainError, Reason
from services.common.rows.cut import RawRow, split_lines
from services.common.rows.model import Fault, Limits
from services.trainer.support.launcher import dying_with_this_process

MAGIC: Final = b"PAR1"

_READER: Final = (sys.executable, "-P", "-m", "services.trainer.datasets.parquet_reader")
_MOST_SAID: Final = 4096


def parquet_rows(path: Path, limits: Limits) -> Iterator[RawRow | Fault]:
    """Yield the rows of a file that begins with MAGIC; a row's line is its number.

    Raises:
        DomainError: LIMIT_EXCEEDED; it has too many rows, or takes too much memory or disk once unpacked.
    """
    with tempfile.TemporaryFile() as said, _reader(path, limits, said) as reader:
        try:
            if reader.stdout is not None:
                yield from split_lines(reader.stdout, limits.max_row_bytes, 0)
            status = reader.wait()
        finally:
            reader.kill()
        if status:
            said.seek(0)
            yield _complaint(status, said.read(_MOST_SAID))


def _reader(path: Path, limits: Limits, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        dying_with_this_process([*_READER, str(path.resolve()), str(limits.max_unpacked_bytes)]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=said,
        bufsize=1 << 18,
        # It reads files that anyone may have written, and needs nothing of this process's surroundings.
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ},
        start_new_session=True,
    )


def _complaint(status: int, said: bytes) -> Fault:
    """Tell what the reader told, or how it died."""
    kind, text = _read_complaint(said)
    if kind == "fault":
        return Fault(1, 0, "", text)
    if kind == "limit" or status in {-signal.SIGABRT, -signal.SIGKILL}:
        told = text or "Reading it takes too much memory. Write it with smaller pages or row groups."
        raise DomainError(Reason.LIMIT_EXCEEDED, f"The Parquet file is too large. {told}")
    return Fault(1, 0, "", "The file cannot be read as Parquet: its reader crashed. Write it again.")


def _read_complaint(said: bytes) -> tuple[str, str]:
    lines = said.decode("utf-8", "replace").splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
        return str(found["kind"]), str(found["text"])
    except (IndexError, KeyError, TypeError, ValueError):
        return "", ""
