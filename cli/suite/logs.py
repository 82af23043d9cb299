"""The log file of a process: bounded at each start, quoted when the process fails."""

import os
from pathlib import Path
from typing import Final

ROTATE_BYTES: Final = 16 * 1024 * 1024
KEEP: Final = 3
"""Older files kept: NAME.log.1 is the youngest."""

TAIL_LINES: Final = 15
TAIL_BYTES: Final = 4096


def open_log(path: Path, *, rotate_bytes: int = ROTATE_BYTES) -> int:
    """Open `path` for appending, moving it aside first when it has grown to `rotate_bytes`; answers a descriptor."""
    if path.exists() and path.stat().st_size >= rotate_bytes:
        _rotate(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def tail(path: Path, *, since: int = 0) -> str:
    """Read the last lines of a log, at most `TAIL_LINES` and `TAIL_BYTES`, none of what lies before offset `since`."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since, end - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])


def _rotate(path: Path) -> None:
    for number in range(KEEP, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    path.replace(path.with_name(f"{path.name}.1"))
