"""Blobs as files below one directory, for a suite on one machine or on a shared file system."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Final, Self

from services.common.artifacts import failures
from services.common.artifacts.atomic import PARTIAL_PREFIX, make_directory, pending_file, sync_directory
from services.common.artifacts.names import (
    PROJECTS,
    SUITE,
    blob_key,
    blobs_prefix,
    check_upload,
    digest_of_key,
    project_of_key,
)
from services.common.artifacts.store import Blob, StoredBlob
from services.common.artifacts.transfer import (
    byte_range,
    expect_digest,
    file_chunks,
    hash_into,
    limited,
    read_exactly,
    rehash,
    save,
)
from services.common.errors import DomainError, Reason

MARKER: Final = ".tenon-artifacts"
"""Holds the layout's version. It also tells a store from the empty mount point of a disk that went away."""

LAYOUT: Final = "1\n"

STALE_SECONDS: Final = 3600.0
"""An unfinished file that nobody has written to for this long belongs to a process that died."""


class FileSystemStore:
    """The artifact store on a file system: `.tenon-artifacts`, `tmp/` for files on their way, `projects/` for blobs."""

    def __init__(self, root: Path) -> None:
        """Use the store in `root`, which `open` has made; nothing is touched yet."""
        self._root = root
        self._incoming = root / "tmp"
        self._errors = partial(failures.store_disk_errors, f"in {root}")

    @classmethod
    def open(cls, root: Path, *, stale_after: float = STALE_SECONDS) -> Self:
        """Open the store in `root`, made if the directory is missing or empty, and clear what dead processes left.

        Args:
            root: The store's directory, for this purpose alone.
            stale_after: Age in seconds from which an unfinished file counts as left behind.

        Raises:
            DomainError: ARTIFACT_STORE_UNAVAILABLE; DATA_DIRECTORY_INCOMPATIBLE where a newer version wrote it;
                SETTINGS_INVALID where the directory holds something else.
        """
        store = cls(root)
        with store._errors():
            if not (root / MARKER).exists():
                store._create()
            layout = (root / MARKER).read_text()
        if layout != LAYOUT:
            message = f"The artifact store in {root} has layout {layout.strip()!r:.20}, this version knows 1. Upgrade."
            raise DomainError(Reason.DATA_DIRECTORY_INCOMPATIBLE, message)
        store._sweep(time.time() - stale_after)
        return store

    def __repr__(self) -> str:
        """Say where it is."""
        return f"FileSystemStore({str(self._root)!r})"

    def put(self, project: str, chunks: Iterable[bytes], *, max_bytes: int, expected_digest: str | None = None) -> Blob:
        """See `ArtifactStore.put`."""
        check_upload(project, expected_digest)
        self._require()
        with self._errors():
            make_directory(self._incoming, within=self._root)
        with pending_file(self._incoming, self._errors) as pending:
            blob = hash_into(limited(chunks, max_bytes), pending.write)
            expect_digest(blob, expected_digest, "uploaded")
            place = self._place(project, blob.digest)
            with self._errors():
                make_directory(place.parent, within=self._root)
            # Also where a file is there already: the new bytes are known to be right, the old ones may have rotted.
            pending.commit(place)
        return blob

    def put_file(self, project: str, path: Path) -> Blob:
        """See `ArtifactStore.put_file`."""
        size, chunks = file_chunks(path)
        return self.put(project, chunks, max_bytes=size)

    def stat(self, project: str, digest: str) -> Blob:
        """See `ArtifactStore.stat`."""
        place = self._place(project, digest)
        self._require()
        with self._errors():
            try:
                status = place.stat()
            except FileNotFoundError:
                raise failures.not_found(project, digest) from None
        if not S_ISREG(status.st_mode):
            raise failures.not_found(project, digest)
        return Blob(digest, status.st_size)

    def read(self, project: str, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ArtifactStore.read`."""
        start, count = byte_range(self.stat(project, digest), offset, length)
        return self._stream(project, digest, start, count)

    def fetch(self, project: str, digest: str, destination: Path) -> None:
        """See `ArtifactStore.fetch`. A copy, not a link: what its owner does to it must not reach the store."""
        save(self.read(project, digest), digest, destination)

    def verify(self, project: str, digest: str) -> Blob:
        """See `ArtifactStore.verify`."""
        return rehash(self.read(project, digest), digest)

    def delete(self, project: str, digest: str) -> None:
        """See `ArtifactStore.delete`."""
        place = self._place(project, digest)
        self._require()
        with self._errors(), suppress(FileNotFoundError):
            place.unlink()
            sync_directory(place.parent)

    def projects(self) -> Iterator[str]:
        """See `ArtifactStore.projects`."""
        self._require()
        with self._errors():
            names = sorted(path.name for path in self._listed(self._root / PROJECTS))
        return (name for name in names if project_of_key(f"{PROJECTS}{name}"))

    def blobs(self, project: str) -> Iterator[StoredBlob]:
        """See `ArtifactStore.blobs`."""
        top = self._root / blobs_prefix(project)
        self._require()
        with self._errors():
            for directory in sorted(self._listed(top)):
                for path in sorted(self._listed(directory)):
                    if digest_of_key(path.relative_to(self._root).as_posix()) and (blob := self._stored(path)):
                        yield blob

    def claim(self, suite: str) -> str:
        """See `ArtifactStore.claim`."""
        self._require()
        with self._errors():
            if not (self._root / SUITE).exists():
                with pending_file(self._root, self._errors) as pending:
                    pending.write(suite.encode())
                    pending.commit(self._root / SUITE)
            return (self._root / SUITE).read_text()

    def check(self) -> None:
        """See `ArtifactStore.check`."""
        self._require()
        with self._errors():
            make_directory(self._incoming, within=self._root)
        with pending_file(self._incoming, self._errors) as probe:
            probe.write(b"\0")
            probe.flush()

    def presign_get(self, project: str, digest: str, expires: timedelta) -> str | None:  # noqa: ARG002 - the interface
        """See `ArtifactStore.presign_get`: a directory serves nothing."""
        blob_key(project, digest)
        return None

    def _place(self, project: str, digest: str) -> Path:
        return self._root / blob_key(project, digest)

    def _listed(self, directory: Path) -> list[Path]:
        try:
            return list(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _stored(self, path: Path) -> StoredBlob | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        put_time = datetime.fromtimestamp(status.st_mtime, UTC)
        return StoredBlob(path.name, status.st_size, put_time) if S_ISREG(status.st_mode) else None

    def _require(self) -> None:
        """Refuse to work where the store's disk went away: a missing blob would look deleted, a new one get lost."""
        with self._errors():
            (self._root / MARKER).stat()

    def _stream(self, project: str, digest: str, start: int, count: int) -> Iterator[bytes]:
        with self._open(project, digest) as file:
            file.seek(start)
            yield from read_exactly(partial(self._read_chunk, file), count)

    def _open(self, project: str, digest: str) -> BinaryIO:
        with self._errors():
            try:
                return self._place(project, digest).open("rb")
            except FileNotFoundError:
                self._require()
                raise failures.not_found(project, digest) from None

    def _read_chunk(self, file: BinaryIO, length: int) -> bytes:
        with self._errors():
            return file.read(length)

    def _create(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(self._root.parent)
        # Another process may be creating the same store now; a fresh disk has a lost+found.
        known = (MARKER, PARTIAL_PREFIX, "lost+found", "tmp", "projects")
        strange = sorted(entry.name for entry in self._root.iterdir() if not entry.name.startswith(known))
        if strange:
            message = (
                f"The directory {self._root} is no artifact store: it holds {strange[0]!r:.80}. "
                "Point TENON_ARTIFACTS_URL at an empty or a new directory."
            )
            raise DomainError(Reason.SETTINGS_INVALID, message)
        with pending_file(self._root, self._errors) as marker:
            marker.write(LAYOUT.encode())
            marker.commit(self._root / MARKER)

    def _sweep(self, before: float) -> None:
        """Remove unfinished files last written before a time; those on a read-only disk are in nobody's way."""
        with suppress(OSError):
            for path in self._incoming.glob(f"{PARTIAL_PREFIX}*"):
                with suppress(FileNotFoundError):  # another process sweeps too
                    if path.stat().st_mtime < before:
                        path.unlink()
