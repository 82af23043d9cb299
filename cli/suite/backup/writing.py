"""`tenon backup`: blobs first, then once more what is new to a snapshot of the database, then the snapshot itself.

Blobs never change and are named by their content, so it does not matter when they are copied. What matters is that every one
that the dump refers to is there: what was deleted between the snapshot and its copy is found missing, and another snapshot
is taken.
"""

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from psycopg import Connection, IsolationLevel
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from cli.suite.backup.archive import ArchiveWriter, Sink, read_archive, writing
from cli.suite.backup.layout import ADMIN_KEY, MANIFEST, MOST_BYTES, SIGNING_KEY, Kind, Member, parse_member
from cli.suite.backup.manifest import SCHEMAS, Header, LeftOut, Manifest
from cli.suite.backup.references import Reference, list_references
from cli.suite.backup.server import Server, server_of
from cli.suite.data_directory import DataDirectory, open_data_directory, unusable
from cli.suite.postgres.cluster import Cluster
from cli.suite.postgres.programs import MAJOR_VERSION
from services.common.artifacts.atomic import pending_file
from services.common.artifacts.failures import local_disk_errors
from services.common.artifacts.filesystem import STALE_SECONDS, FileSystemStore
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason

PASSES: Final = 5
PASS_SECONDS: Final = 0.5
"""How often a snapshot is tried whose blobs are deleted before they are copied, and how long to wait in between."""

_LOST: Final = frozenset({Reason.ARTIFACT_NOT_FOUND, Reason.ARTIFACT_CORRUPT})


class Report(Protocol):
    """Who is told how far it is."""

    def expect(self, total: int) -> None:
        """Hear how many bytes it will be, about."""

    def advance(self, count: int) -> None:
        """Hear that so many more are done."""


def open_suite(root: Path) -> DataDirectory:
    """Open a data directory that holds a suite.

    Raises:
        DomainError: DATA_DIRECTORY_UNUSABLE, DATA_DIRECTORY_INCOMPATIBLE.
    """
    # Asked first, because opening makes what is missing.
    if not (Cluster(root / "postgres").data / "PG_VERSION").is_file():
        text = f"There is no suite in {root} to back up. Name its data directory with --data-dir or TENON_DATA_DIR."
        raise DomainError(Reason.DATA_DIRECTORY_UNUSABLE, text, {"data_directory": str(root)})
    return open_data_directory(root)


@contextmanager
def new_archive(target: Path, *, force: bool) -> Iterator[Sink]:
    """Have a file inside the block that becomes `target` at its end, or vanishes.

    Raises:
        DomainError: INVALID_ARGUMENT: there is something already; ARTIFACT_STORE_FULL; DATA_DIRECTORY_UNUSABLE.
    """
    target = target.absolute()
    _require_free(target, force=force)
    errors = partial(local_disk_errors, str(target))
    prefix = f".{target.name}.partial-"
    with errors():
        _clear_unfinished(target.parent, prefix)
    with pending_file(target.parent, errors, prefix) as pending:
        yield pending
        _require_free(target, force=force)
        pending.commit(target)


def write_backup(
    directory: DataDirectory, sink: Sink, report: Report, *, postgres_uid: int, skip_damaged: bool = False
) -> Manifest:
    """Write a suite, which may be running, to `sink`.

    Args:
        directory: the suite's.
        sink: where to.
        report: is told how far it is.
        postgres_uid: whom Postgres runs as if root starts it.
        skip_damaged: leave out blobs that are damaged or lost, and say so in the manifest.

    Raises:
        DomainError: ARTIFACT_CORRUPT, ARTIFACT_NOT_FOUND: a blob is damaged or lost; DATABASE_TOO_NEW: a newer Tenon's
            suite; DATABASE_UNAVAILABLE; PROCESS_FAILED; KEY_INVALID; what the sink and Postgres's start raise.
    """
    with server_of(directory, postgres_uid) as server, writing(sink, report.advance) as archive:
        blobs = _Blobs(archive, FileSystemStore.open(directory.artifacts), skip_damaged=skip_damaged)
        with server.connected() as connection:
            # Refused before hours are spent: tables that this version does not know may name blobs.
            _described(connection, archive, ()).check_versions()
            first = {(found.project, found.digest): found for found in list_references(connection)}
        report.expect(sum(found.size for found in first.values()))
        blobs.copy(first.values())
        del first
        manifest = _write_snapshot(server, directory, archive, blobs)
        archive.add_small(parse_member(MANIFEST), manifest.to_bytes())
        return manifest


def verify_backup(file: Path, report: Report) -> tuple[Header, Manifest]:
    """Read an archive to its end and hold it against its manifest.

    Raises:
        DomainError: INVALID_ARGUMENT, ARTIFACT_CORRUPT, DATA_DIRECTORY_INCOMPATIBLE, DATABASE_TOO_NEW.
    """
    with opened_archive(file) as stream:
        report.expect(file.stat().st_size)
        return read_archive(stream, lambda _member, _size, _chunks: None, report.advance)


@contextmanager
def opened_archive(file: Path) -> Iterator[Any]:
    """Open an archive to be read.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DomainError(Reason.INVALID_ARGUMENT, f"{file} cannot be read: {error.strerror}.") from None
    with stream:
        yield stream


@dataclass(slots=True)
class _Blobs:
    """Copies blobs into an archive, each once."""

    archive: ArchiveWriter
    store: ArtifactStore
    skip_damaged: bool
    left_out: dict[Member, LeftOut] = field(default_factory=dict)

    def copy(self, references: Iterable[Reference]) -> list[Reference]:
        """Copy what is not in the archive yet, and answer what should have been there and was not.

        Raises:
            DomainError: ARTIFACT_CORRUPT, naming the first that is damaged.
        """
        return [reference for reference in references if not self._copied(reference)]

    def leave_out(self, reference: Reference, reason: Reason) -> None:
        """Do without a blob, and remember that."""
        member = Member.blob(reference.project, reference.digest)
        self.left_out[member] = LeftOut(
            project=reference.project, digest=reference.digest, what=reference.what, reason=reason.value
        )

    def _copied(self, reference: Reference) -> bool:
        member = Member.blob(reference.project, reference.digest)
        if member in self.archive or member in self.left_out:
            return True
        try:
            self._copy(member, reference)
        except DomainError as error:
            if error.reason not in _LOST:
                raise
            if error.reason is Reason.ARTIFACT_NOT_FOUND:
                return not reference.required
            if not self.skip_damaged or member in self.archive:
                raise _damaged(reference) from error
            self.leave_out(reference, error.reason)
        return True

    def _copy(self, member: Member, reference: Reference) -> None:
        place = reference.project, reference.digest
        if self.skip_damaged:
            # What is in the archive cannot be taken out again, so it is read twice.
            self.store.verify(*place)
        size, chunks = self.store.stat(*place).size, self.store.read(*place)
        # Opens the blob: from here on it can be deleted and is read all the same.
        first = next(chunks, b"")
        found = self.archive.add(member, size, itertools.chain([first], chunks))
        if found.digest != reference.digest:
            raise _damaged(reference)


def _write_snapshot(server: Server, directory: DataDirectory, archive: ArchiveWriter, blobs: _Blobs) -> Manifest:
    """Write the database as it is at one moment, and the blobs of that moment that are not there yet."""
    for tries in range(PASSES, 0, -1):
        with server.connected() as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            snapshot = _one(connection, "SELECT pg_export_snapshot()")
            missing = blobs.copy(list_references(connection))
            if missing and tries > 1:
                time.sleep(PASS_SECONDS)
                continue
            for reference in missing:
                if not blobs.skip_damaged:
                    raise _lost(reference)
                blobs.leave_out(reference, Reason.ARTIFACT_NOT_FOUND)
            for member, data in _keys(directory):
                archive.add_small(member, data)
            with server.dumping(snapshot) as dump:
                archive.add_database(dump)
            return _described(connection, archive, tuple(blobs.left_out.values()))
    raise AssertionError("the last pass returns or raises")


def _described(connection: "Connection[TupleRow]", archive: ArchiveWriter, left_out: tuple[LeftOut, ...]) -> Manifest:
    database, keys, blobs = archive.tally.contents()
    create_time: datetime = _one(connection, "SELECT now()")
    schemas = {schema: applied for schema in SCHEMAS if (applied := applied_migrations(connection, schema))}
    return Manifest(
        create_time=create_time,
        postgres=MAJOR_VERSION,
        schemas=schemas,
        database=database,
        keys=keys,
        blobs=blobs,
        left_out=left_out,
    )


def applied_migrations(connection: "Connection[TupleRow]", schema: str) -> dict[int, str]:
    """Answer the digests of the migrations that a schema has seen, by their versions; none where there is no schema."""
    record = f"{schema}.migrations"
    found = connection.execute("SELECT to_regclass(%s)", [record]).fetchone()
    if found is None or found[0] is None:
        return {}
    rows = connection.execute(
        SQL("SELECT version, sha256 FROM {}.migrations ORDER BY version").format(Identifier(schema))
    )
    return dict(rows.fetchall())


def _one(connection: "Connection[TupleRow]", query: Any) -> Any:
    (value,) = connection.execute(query).fetchone() or (None,)
    return value


def _keys(directory: DataDirectory) -> Iterator[tuple[Member, bytes]]:
    for name in (SIGNING_KEY, ADMIN_KEY):
        file = directory.root / name
        if file.exists():
            yield parse_member(name), _small(file)
    for file in sorted(directory.trusted_keys.glob("*.pem")):
        yield Member.trusted_key(file.name), _small(file)


def _small(file: Path) -> bytes:
    most = MOST_BYTES[Kind.KEY]
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise unusable(file, error.strerror or str(error)) from None
    if len(data) > most:
        raise DomainError(Reason.KEY_INVALID, f"{file} has more than {most} bytes, so it is no key.")
    return data


def _require_free(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise DomainError(Reason.INVALID_ARGUMENT, f"{target} is a directory. Name a file to write the backup to.")
    if not target.parent.is_dir():
        raise DomainError(Reason.INVALID_ARGUMENT, f"There is no directory {target.parent} to put the backup in.")
    if not force and (target.exists() or target.is_symlink()):
        text = f"{target} is there already. Name another file, or replace it with --force."
        raise DomainError(Reason.INVALID_ARGUMENT, text)


def _clear_unfinished(folder: Path, prefix: str) -> None:
    """Remove what killed backups to the same file left; nobody has written to it for long."""
    for rest in folder.iterdir():
        if rest.name.startswith(prefix) and rest.lstat().st_mtime < time.time() - STALE_SECONDS:
            rest.unlink()


def _damaged(reference: Reference) -> DomainError:
    return DomainError(
        Reason.ARTIFACT_CORRUPT,
        f"The blob {reference.digest} of {reference.what} is damaged in the artifact store. Upload it again from its "
        "origin, or back up everything else with --skip-damaged.",
        {"project": reference.project, "digest": reference.digest, "resource": reference.what},
    )


def _lost(reference: Reference) -> DomainError:
    return DomainError(
        Reason.ARTIFACT_NOT_FOUND,
        f"The blob {reference.digest} of {reference.what} is not in the artifact store, or what it belongs to is deleted "
        "faster than it can be copied. Try again, or back up everything else with --skip-damaged.",
        {"project": reference.project, "digest": reference.digest, "resource": reference.what},
    )
