"""`tenon restore`: a data directory from an archive, built beside its place and moved there when it is whole."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from cli.suite.backup.archive import read_archive
from cli.suite.backup.layout import Kind, Member
from cli.suite.backup.manifest import Header, Manifest
from cli.suite.backup.references import list_references
from cli.suite.backup.server import Server, server_alone
from cli.suite.backup.writing import Report
from cli.suite.data_directory import DataDirectory, open_data_directory
from cli.suite.files import sync_directory
from services.common.artifacts.failures import local_disk_errors
from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason

DUMP: Final = "database.dump"
"""The database on its way, in `run`."""


def restore_suite(stream: IO[bytes], target: Path, report: Report, *, postgres_uid: int) -> tuple[Header, Manifest]:
    """Make the data directory `target`, which must not exist or be empty, from an archive.

    Nothing of the archive is believed before it was read to its end; whatever fails leaves `target` as it was.

    Args:
        stream: the archive, one of one's own: it holds a database's definitions, which are programs.
        target: the data directory.
        report: is told how far it is.
        postgres_uid: whom Postgres runs as if root starts it.

    Raises:
        DomainError: INVALID_ARGUMENT, ARTIFACT_CORRUPT, DATA_DIRECTORY_INCOMPATIBLE, DATABASE_TOO_NEW: the archive;
            DATA_DIRECTORY_UNUSABLE: the target; ARTIFACT_STORE_FULL; PROCESS_FAILED: the database cannot be read.
    """
    target = target.absolute()
    require_empty(target)
    with local_disk_errors(str(target)), _appearing(target) as directory:
        directory.trusted_keys.mkdir(mode=0o700)
        receiver = _Receiver(directory, FileSystemStore.open(directory.artifacts))
        header, manifest = read_archive(stream, receiver.receive, report.advance)
        with server_alone(directory, postgres_uid) as server:
            server.restore(receiver.dump)
            _settle_blobs(server, receiver, manifest)
        receiver.dump.unlink()
        # Blobs and database made theirs durable; so must be the names of the rest.
        for folder in (directory.keys, directory.trusted_keys, directory.run, directory.root):
            sync_directory(folder)
    return header, manifest


def require_empty(target: Path) -> None:
    """Refuse a place where something is.

    Raises:
        DomainError: DATA_DIRECTORY_UNUSABLE.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise _unusable(target, "it is no directory")
    if any(target.iterdir()):
        raise _unusable(target, "it is not empty")
    if target.is_mount():
        raise _unusable(target, "it is where a disk is mounted, so nothing can take its place at once")


@dataclass(frozen=True, slots=True)
class _Receiver:
    """Puts members where they belong below a data directory."""

    directory: DataDirectory
    store: FileSystemStore
    blobs: set[tuple[str, str]] = field(default_factory=set)

    @property
    def dump(self) -> Path:
        return self.directory.run / DUMP

    def receive(self, member: Member, size: int, chunks: Iterator[bytes]) -> None:
        if member.kind is Kind.BLOB:
            # Under the digest that it has; whether that is the one of its name is the reader's to see.
            self.store.put(member.project, chunks, max_bytes=size)
            self.blobs.add((member.project, member.digest))
        elif member.kind is Kind.KEY:
            _append(self.directory.root / member.name, chunks)
        elif member.kind is Kind.DATABASE:
            _append(self.dump, chunks)


def _append(path: Path, chunks: Iterator[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _settle_blobs(server: Server, receiver: _Receiver, manifest: Manifest) -> None:
    """See that every blob is there that the database refers to, but what its backup left out, and no other.

    A backup may hold bytes that were deleted while it was written: what somebody deleted must not come back.
    """
    left_out = {(blob.project, blob.digest) for blob in manifest.left_out}
    unused = receiver.blobs
    with server.connected() as connection:
        for found in list_references(connection):
            place = found.project, found.digest
            if found.required and place not in left_out:
                receiver.store.stat(*place)
            unused.discard(place)
    for place in unused:
        receiver.store.delete(*place)


@contextmanager
def _appearing(target: Path) -> Iterator[DataDirectory]:
    """A data directory beside the target that takes its name at the end of the block, or vanishes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.restore-"
    _clear_unfinished(target.parent, prefix)
    root = target.with_name(f"{prefix}{secrets.token_hex(8)}")
    try:
        directory = open_data_directory(root)
        with directory.locked():
            yield directory
            # Over an empty directory this works too, and never over another.
            root.rename(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _clear_unfinished(folder: Path, prefix: str) -> None:
    """Remove what killed restores of the same directory left; the kernel has let go of their locks."""
    for rest in folder.iterdir():
        if rest.name.startswith(prefix) and rest.is_dir() and not rest.is_symlink():
            with suppress(DomainError), open_data_directory(rest).locked():
                shutil.rmtree(rest, ignore_errors=True)


def _unusable(target: Path, why: str) -> DomainError:
    return DomainError(
        Reason.DATA_DIRECTORY_UNUSABLE,
        f"Nothing can be restored into {target}: {why}. Name a directory that is not there yet, or is empty.",
        {"data_directory": str(target)},
    )
