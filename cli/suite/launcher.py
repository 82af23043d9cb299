"""Becomes another program that dies with its parent: `python -I -S launcher.py --parent PID … -- PROGRAM ARGUMENTS`.

Every child of the suite is started through this file, so that nothing is left when the supervisor is killed with
SIGKILL and can stop nothing itself. It runs without site-packages and takes a few hundredths of a second.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal this process gets when the thread that started it ends."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric user and group; they need no entry in /etc/passwd."""

    uid: int
    gid: int


def wrap(argv: Sequence[str], *, death_signal: signal.Signals, identity: Identity | None = None) -> list[str]:
    """Make the command line that starts `argv` through this file as a child of the calling process.

    Args:
        argv: the program, as a path, and its arguments.
        death_signal: what the program gets when the calling thread ends.
        identity: whom it runs as; None leaves it as it is. Only root can ask for one.
    """
    user = [] if identity is None else ["--user", f"{identity.uid}:{identity.gid}"]
    own = [sys.executable, "-I", "-S", __file__, "--parent", str(os.getpid()), "--death-signal", death_signal.name]
    return [*own, *user, "--", *argv]


def main(arguments: Sequence[str]) -> None:
    """Drop privileges, tie this process to its parent, become the program."""
    options = _parse(arguments)
    if options.user is not None:
        _become(options.user)
    # Changing the user clears the death signal, so it comes after.
    _die_with_parent(options.death_signal)
    if os.getppid() != options.parent:
        sys.exit("The process that started this one has ended already.")
    try:
        os.execv(options.argv[0], options.argv)  # noqa: S606  # the whole purpose; the arguments come from the suite
    except OSError as error:
        sys.exit(f"Cannot start {options.argv[0]}: {error.strerror}.")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=lambda name: signal.Signals[name], required=True)
    parser.add_argument("--user", type=_identity)
    parser.add_argument("argv", nargs="+")
    return parser.parse_args(arguments)


def _identity(text: str) -> Identity:
    uid, _, gid = text.partition(":")
    return Identity(int(uid), int(gid))


def _become(identity: Identity) -> None:
    try:
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        sys.exit(f"Cannot run as uid {identity.uid}: {error.strerror}. Choose another with TENON_POSTGRES_UID.")
    os.umask(0o077)


def _die_with_parent(death_signal: signal.Signals) -> None:
    if sys.platform != "linux":
        return  # Elsewhere the kernel offers no such thing; the next start finds what was left.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
