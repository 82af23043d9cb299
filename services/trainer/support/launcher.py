"""Becomes another program that dies with its parent: ``python -I -S launcher.py PARENT_PID PROGRAM ARGUMENTS``.

A worker that is killed with SIGKILL can stop nothing itself; without this its training would go on, unseen, beside the
one that another worker starts. Runs without site-packages.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal this process gets when the thread that started it ends."""


def dying_with_this_process(argv: Sequence[str]) -> list[str]:
    """Make the command line that starts ``argv``, whose first part is a path, as a child of the calling process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def main(parent: int, argv: list[str]) -> None:
    """Tie this process to its parent, then become the program."""
    # Elsewhere the kernel offers no such thing; there the lease is what keeps two trainings from being published.
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit("The kernel refused to tie this process to its parent.")
    if os.getppid() != parent:
        sys.exit("The process that started this one has ended already.")
    os.execv(argv[0], argv)  # noqa: S606 - the whole purpose; the arguments come from the worker


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
