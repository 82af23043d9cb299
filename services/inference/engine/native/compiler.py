"""Compiles the kernels with the machine's own compiler, once for a processor, and keeps what comes out."""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("kernels.c")
COMPILERS: Final = ("cc", "gcc", "clang")
LIMIT: Final = 120
"""Seconds that compiling may take; it takes three."""

NATIVE: Final = {"x86_64": "-march=native", "aarch64": "-mcpu=native"}
FLAGS: Final = ("-O3", "-std=gnu11", "-fopenmp", "-fPIC", "-shared", "-lm")


class CompilingError(Exception):
    """There are no kernels here; says why, for people."""


def compiled(directory: Path, *options: str) -> ctypes.CDLL:
    """Load the kernels for this processor, which are compiled if they were not before.

    Args:
        directory: keeps them; made if it is not there, for its owner alone.
        *options: for the compiler.

    Raises:
        CompilingError: no compiler, one that does not know this processor, or a directory that others may write to.
    """
    command = [*_command(), *options]
    name = hashlib.sha256(repr((SOURCE.read_bytes(), command, _processor())).encode()).hexdigest()
    try:
        _require_private(directory)
        library = directory / f"{name}.so"
        if not library.exists():
            _compile(command, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilingError(f"the kernels cannot be kept in {directory}: {error}") from error


def _command() -> list[str]:
    wanted = os.environ.get("CC")
    compiler = next((found for name in ([wanted] if wanted else COMPILERS) if (found := shutil.which(name))), None)
    if compiler is None:
        raise CompilingError("there is no C compiler")
    native = NATIVE.get(platform.machine())
    if native is None:
        raise CompilingError(f"no kernels are known for {platform.machine()}")
    return [compiler, *FLAGS, native, *_openmp()]


def _openmp() -> Sequence[str]:
    """The OpenMP library that torch computes with: a second one in the process would have threads of its own."""
    with Path("/proc/self/maps").open() as maps:
        loaded = {line.split()[-1] for line in maps if "/" in line}
    found = sorted(path for path in loaded if Path(path).name.startswith(("libgomp", "libiomp", "libomp")))
    if len(found) != 1:
        raise CompilingError(f"torch computes with {len(found)} OpenMP libraries")
    return found


def _processor() -> str:
    """What the processor can do: what is compiled for one of a cluster may not run on another."""
    with Path("/proc/cpuinfo").open() as lines:
        told = (line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part")))
        return "".join(sorted(set(told)))


def _require_private(directory: Path) -> None:
    """Refuse to load code from where others may put it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = directory.stat()
    if told.st_uid != os.geteuid() or told.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CompilingError(f"{directory} belongs to, or may be written by, somebody else")


def _compile(command: Sequence[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as made:
        output = Path(made) / library.name
        call = [command[0], str(SOURCE), "-o", str(output), *command[1:]]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=LIMIT, check=False)  # ours
        except subprocess.TimeoutExpired as error:
            raise CompilingError(f"{command[0]} did not end within {LIMIT} s") from error
        if done.returncode != 0:
            first = (done.stderr.splitlines() or ["nothing"])[0]
            raise CompilingError(f"{command[0]} failed: {first}")
        output.replace(library)
