"""The directory that holds everything a suite keeps: its layout, its format version, and the lock on it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.suite.files import write_atomically
from services.common.errors import DomainError, Reason

FORMAT: Final = 1
"""Version of the layout below. It rises when an older Tenon could no longer read what a newer one wrote."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where things lie below the root; `open_data_directory` makes it.

    Attributes:
        root: absolute.
        mark: a word that the processes of this directory's suite carry and no other process of this machine does.
    """

    root: Path
    mark: str

    @property
    def postgres(self) -> Path:
        """The database and its password."""
        return self.root / "postgres"

    @property
    def artifacts(self) -> Path:
        """The artifact store."""
        return self.root / "artifacts"

    @property
    def keys(self) -> Path:
        """The key that manifests are signed with, and those that are trusted."""
        return self.root / "keys"

    @property
    def signing_key(self) -> Path:
        """The private key."""
        return self.keys / "signing.pem"

    @property
    def trusted_keys(self) -> Path:
        """Public keys, a file for each; one that is added or removed counts at once."""
        return self.keys / "trusted"

    @property
    def cache(self) -> Path:
        """What can be fetched or computed again."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What has a meaning only while the suite runs."""
        return self.root / "run"

    @property
    def endpoints(self) -> Path:
        """Where the suite can be reached; there while it is ready."""
        return self.run / "endpoints.json"

    @property
    def admin_key(self) -> Path:
        """The API key that may do everything; made once, and readable by the directory's owner alone."""
        return self.run / "admin.key"

    @property
    def uploads(self) -> Path:
        """What is being received; on this disk, because the system's temporary directory may be memory."""
        return self.run / "uploads"

    def forget_last_run(self) -> None:
        """Remove what a suite that was killed left in `run`; the caller holds the lock.

        Raises:
            DomainError: DATA_DIRECTORY_UNUSABLE.
        """
        try:
            self.endpoints.unlink(missing_ok=True)
            shutil.rmtree(self.uploads, ignore_errors=True)
            self.uploads.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unusable(self.run, error.strerror or str(error)) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the kernel lets go of it when the process ends, however it ends.

        Raises:
            DomainError: DATA_DIRECTORY_IN_USE.
        """
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise DomainError(
                Reason.DATA_DIRECTORY_IN_USE,
                f"Another suite runs on {self.root} already{f' (process {holder})' if holder else ''}. "
                "Stop it, or choose another directory with --data-dir.",
                {"data_directory": str(self.root), "process": holder},
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def open_data_directory(root: Path) -> DataDirectory:
    """Create what is missing below `root`, and make sure that it can be used.

    Raises:
        DomainError: DATA_DIRECTORY_INCOMPATIBLE, or DATA_DIRECTORY_UNUSABLE.
    """
    root = root.absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_format(root)
        directory = DataDirectory(root, _mark(root))
        for folder in _folders(directory):
            folder.mkdir(mode=0o700, exist_ok=True)
            _check_access(folder)
    except OSError as error:
        raise unusable(root, error.strerror or str(error)) from None
    return directory


def unusable(path: Path, why: str) -> DomainError:
    """Say that `path` cannot be used because of `why`, which has no full stop."""
    return DomainError(
        Reason.DATA_DIRECTORY_UNUSABLE,
        f"The data directory {path} cannot be used: {why}. Make it writable for the user who runs this command, or "
        "choose another directory with --data-dir or TENON_DATA_DIR.",
        {"data_directory": str(path)},
    )


def incompatible(path: Path, what: str) -> DomainError:
    """Say that a Tenon of another version wrote `path`; `what` is a whole sentence."""
    return DomainError(
        Reason.DATA_DIRECTORY_INCOMPATIBLE,
        f"{what} Start it with the version of Tenon that wrote it, or choose another directory with --data-dir. "
        "Nothing in it was changed.",
        {"data_directory": str(path)},
    )


def _folders(directory: DataDirectory) -> tuple[Path, ...]:
    kept = (directory.postgres, directory.artifacts, directory.keys)
    return (*kept, directory.cache, directory.logs, directory.run)


def _check_format(root: Path) -> None:
    file = root / "format"
    with suppress(FileNotFoundError):
        found = file.read_text(encoding="ascii", errors="replace")[:32].strip()
        if not found.isascii() or not found.isdecimal() or int(found) != FORMAT:
            raise incompatible(
                root, f"The data directory {root} has format {found!r}; this version of Tenon knows format {FORMAT}."
            )
        return
    _check_access(root)
    write_atomically(file, f"{FORMAT}\n")


def _check_access(folder: Path) -> None:
    # Asks the kernel, because root may write where the mode says otherwise, and nobody may on a read-only file system.
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise unusable(folder, "it is not writable")


def _mark(root: Path) -> str:
    found = root.stat()
    return f"tenon-{found.st_dev:x}-{found.st_ino:x}"
