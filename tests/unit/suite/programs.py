"""Small programs that behave, or misbehave, as services may."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.suite.process import ProcessSpec

# A program that is up writes its process number into the file NAME.up, and waits for SIGTERM.
_WELL_BEHAVED = """
import os, pathlib, signal, sys
{first}
signal.signal(signal.SIGTERM, lambda *_: ({last}, os._exit(0)))
pending = pathlib.Path("{name}.pending")
pending.write_text(str(os.getpid()))
pending.rename("{name}.up")
while True:
    signal.pause()
"""


def program(
    folder: Path, name: str, *, first: str = "", last: str = "None", code: str | None = None, **more: Any
) -> ProcessSpec:
    """Describe a stand-in that runs in `folder`.

    Args:
        folder: where it leaves its traces.
        name: of the process.
        first: what it does before it is up.
        last: an expression it evaluates when it is asked to end.
        code: a whole program instead.
        more: further fields of the ProcessSpec.
    """
    up = folder / f"{name}.up"
    text = code if code is not None else _WELL_BEHAVED.format(name=name, first=first, last=last)

    async def prepare() -> None:
        up.unlink(missing_ok=True)

    async def ready() -> bool:
        return up.exists()

    argv = (sys.executable, "-I", "-S", "-c", f"import os; os.chdir({str(folder)!r})\n{text}")
    return ProcessSpec(**{"name": name, "argv": argv, "env": {}, "ready": ready, "prepare": prepare, **more})


def pid_of(folder: Path, name: str) -> int:
    """Read which process wrote NAME.up."""
    return int((folder / f"{name}.up").read_text())


def alive(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Answer this process's environment and `more`."""
    return {**os.environ, **more}
