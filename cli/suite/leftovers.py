"""Processes that an earlier suite of the same data directory left behind: found by their mark, and ended.

The kernel ends the children of a supervisor that is killed (see `launcher`), but not at once, and not what they had
started themselves. Numbers of processes are reused, so nothing here trusts a number that was written down: a process
is ours if it carries the directory's mark, in its environment or, as Postgres does, in its command line.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason

MARK_VARIABLE: Final = "TENON_SUITE"
"""Environment variable that carries the mark to the services and to all that they start."""

POLL_SECONDS: Final = 0.02
KILLED_WITHIN_SECONDS: Final = 10.0

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A living process with the mark.

    Attributes:
        pid: its number now.
        is_postgres: part of a database server.
        is_postmaster: the one that leads it.
    """

    pid: int
    is_postgres: bool
    is_postmaster: bool = False


Choice = Callable[[Leftover], bool]


def find(mark: str, uids: Iterable[int]) -> list[Leftover]:
    """List the processes of these users that carry `mark`, this one excepted; nothing where there is no /proc."""
    return list(_find(mark, frozenset(uids)))


async def end_services(mark: str) -> None:
    """Kill the services, and what they started, that an earlier suite left behind; they are made to bear it."""
    await _kill(mark, [os.geteuid()], lambda found: not found.is_postgres)


async def end_postgres(mark: str, uid: int, *, polite_seconds: float = 10.0) -> None:
    """Stop the Postgres that an earlier suite left behind: smoothly, then at once, then by force."""
    for number, seconds in ((signal.SIGINT, polite_seconds), (signal.SIGQUIT, polite_seconds / 2)):
        postmasters = [found for found in find(mark, [uid]) if found.is_postmaster]
        _send(mark, postmasters, number)
        if postmasters and await _gone(mark, [uid], lambda found: found.is_postmaster, seconds):
            break
    # Without their postmaster the others end by themselves within moments.
    if not await _gone(mark, [uid], lambda found: found.is_postgres, 2.0):
        await _kill(mark, [uid], lambda found: found.is_postgres)


async def _kill(mark: str, uids: list[int], choice: Choice) -> None:
    deadline = time.monotonic() + KILLED_WITHIN_SECONDS
    while left := [found for found in find(mark, uids) if choice(found)]:
        if time.monotonic() > deadline:
            numbers = ", ".join(str(found.pid) for found in left)
            raise DomainError(
                Reason.DATA_DIRECTORY_IN_USE,
                f"Processes of an earlier suite on this data directory do not end, not even killed: {numbers}. They "
                "probably wait for a disk; try again once they are gone.",
                {"processes": numbers},
            )
        _send(mark, left, signal.SIGKILL)
        await asyncio.sleep(POLL_SECONDS)


async def _gone(mark: str, uids: list[int], choice: Choice, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(choice(found) for found in find(mark, uids)):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _send(mark: str, processes: Iterable[Leftover], number: signal.Signals) -> None:
    if sys.platform != "linux":
        return
    for process in processes:
        # A descriptor stays with its process, so the mark read after it was opened is that of whom the signal reaches.
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process.pid)
            try:
                if _carries(process.pid, mark) is not None:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def _find(mark: str, uids: frozenset[int]) -> Iterator[Leftover]:
    if not _PROC.is_dir():
        return
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if _owner(entry) in uids and (found := _carries(int(entry.name), mark)) is not None:
                yield found


def _owner(entry: Path) -> int:
    # The owner of the entry itself is root for a process that changed its user and has not started a program since.
    for line in (entry / "status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def _carries(pid: int, mark: str) -> Leftover | None:
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    word = mark.encode()
    if b"cluster_name=" + word in arguments:
        return Leftover(pid, is_postgres=True, is_postmaster=arguments[0].endswith(b"postgres"))
    if arguments[0].startswith(b"postgres: " + word + b":"):
        return Leftover(pid, is_postgres=True)
    with suppress(OSError):
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        if f"{MARK_VARIABLE}={mark}".encode() in environment:
            return Leftover(pid, is_postgres=False)
    return None
