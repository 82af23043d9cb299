"""postmaster.pid, Postgres's own lock, which stays behind when a server is killed.

Postgres takes the file for stale only if no process has the number in it. After a crash, and above all after a reboot,
the number is soon another program's, and Postgres would refuse to start until somebody removes the file by hand.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason

CLOCK_SLACK_SECONDS: Final = 30
"""How far a server's own idea of its start may be from the kernel's: start-up work, and a clock that was set."""

_PORT_LINE: Final = 4
_STATUS_LINE: Final = 8
"""Lines of the file, counted from 1: LOCK_FILE_LINE_* in Postgres's src/include/utils/pidfile.h."""


def remove_stale(data: Path) -> None:
    """Remove the file if the server that wrote it is gone. Call it when no marked process is left.

    Raises:
        DomainError: DATA_DIRECTORY_IN_USE, if somebody else runs a server on `data`.
    """
    if sys.platform != "linux":
        return  # Without /proc there is no telling whose the number is; Postgres's own check has to do.
    file = data / "postmaster.pid"
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    pid = int(lines[0]) if lines and lines[0].isdecimal() else 0
    started = int(lines[2]) if len(lines) > 2 and lines[2].isdecimal() else 0
    if pid and _is_server_of(pid, data, started):
        raise DomainError(
            Reason.DATA_DIRECTORY_IN_USE,
            f"A Postgres that this suite did not start runs on {data} (process {pid}). Stop it first: kill -INT {pid}",
            {"data_directory": str(data), "process": str(pid)},
        )
    file.unlink(missing_ok=True)


def ready_port(data: Path) -> int | None:
    """Read on which port the server on `data` listens; None while there is none that is ready."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < _STATUS_LINE or lines[_STATUS_LINE - 1].strip() != "ready" or not lines[_PORT_LINE - 1].isdecimal():
        return None
    return int(lines[_PORT_LINE - 1])


def _is_server_of(pid: int, data: Path, started: int) -> bool:
    process = Path("/proc") / str(pid)
    try:
        if (process / "comm").read_text(encoding="utf-8", errors="replace").strip() != "postgres":
            return False
        # A process that has ended, and nobody has asked how yet, keeps its name but has no command line.
        if not (process / "cmdline").read_bytes():
            return False
    except OSError:
        return False
    # A server's working directory is its data directory. Root without CAP_SYS_PTRACE, as in most containers, may not
    # look at that of another user's process; then the time of its start must do.
    with suppress(OSError):
        return (process / "cwd").stat().st_ino == data.stat().st_ino
    with suppress(OSError):
        return abs(_start_time(process) - started) <= CLOCK_SLACK_SECONDS
    return False


def _start_time(process: Path) -> float:
    # proc_pid_stat(5): field 22, counted from after the name, which may contain anything.
    ticks = int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    boot = next(
        line for line in Path("/proc/stat").read_text(encoding="ascii").splitlines() if line.startswith("btime")
    )
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
