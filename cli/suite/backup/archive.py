"""An archive as a stream of tar: written and read once, front to back, a megabyte at a time."""

import hashlib
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final, Protocol

from cli.suite.backup.layout import HEADER, MANIFEST, MIB, MOST_BYTES, PIECE_BYTES, Kind, Member, parse_member
from cli.suite.backup.manifest import Header, Manifest, Tally
from services.common.artifacts.store import Blob
from services.common.errors import DomainError, Reason

Progress = Callable[[int], None]
"""Told how many bytes were handled since it was last told."""

Receive = Callable[[Member, int, Iterator[bytes]], None]
"""Takes a member, its size, and its bytes."""


class Sink(Protocol):
    """Where an archive is written to."""

    def write(self, chunk: bytes, /) -> object:
        """Take some bytes."""


class ArchiveWriter:
    """Adds members, and at the end the manifest; `writing` makes it."""

    def __init__(self, tar: tarfile.TarFile, progress: Progress) -> None:
        """Write to a tar archive that is empty."""
        self._tar = tar
        self._progress = progress
        self.tally: Final = Tally()

    def __contains__(self, member: Member) -> bool:
        """Whether the member was written already."""
        return member in self.tally

    def add(self, member: Member, size: int, chunks: Iterable[bytes]) -> Blob:
        """Write a member whose size is known; answers what its bytes were.

        Raises:
            DomainError: ARTIFACT_CORRUPT, where they end early; whatever `chunks` raises.
        """
        self.tally.begin(member)
        info = tarfile.TarInfo(member.name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        reading = _Reading(_at_least(chunks, size, member), self._progress)
        self._tar.addfile(info, reading)  # type: ignore[arg-type]  # it reads, and no more is asked of it
        _forget_members(self._tar)
        found = reading.found()
        self.tally.end(member, found)
        return found

    def add_small(self, member: Member, data: bytes) -> None:
        """Write a member from memory."""
        self.add(member, len(data), [data])

    def add_database(self, dump: IO[bytes]) -> None:
        """Write a dump, however long it gets, in pieces."""
        number = 0
        while piece := dump.read(PIECE_BYTES):
            self.tally.database(piece)
            self.add_small(Member.piece(number), piece)
            number += 1


@contextmanager
def writing(sink: Sink, progress: Progress) -> Iterator[ArchiveWriter]:
    """Write an archive to `sink` inside the block, its header first."""
    # PAX: the one format in which a file may have more than 8 GiB and all of its names more than 100 bytes.
    with tarfile.open(
        fileobj=sink,  # type: ignore[call-overload]  # a stream of tar needs no more than `write`
        mode="w|",
        bufsize=MIB,
        copybufsize=MIB,
        format=tarfile.PAX_FORMAT,
    ) as tar:
        writer = ArchiveWriter(tar, progress)
        writer.add_small(parse_member(HEADER), Header.own().to_bytes())
        yield writer


def read_archive(stream: IO[bytes], receive: Receive, progress: Progress) -> tuple[Header, Manifest]:
    """Read an archive to its end, and hold every byte of it against names and manifest.

    Args:
        stream: the archive.
        receive: gets each key, blob and piece of the database; whether the bytes are right shows only afterwards.
        progress: is told.

    Raises:
        DomainError: INVALID_ARGUMENT: it is no backup, or not a whole one; ARTIFACT_CORRUPT;
            DATA_DIRECTORY_INCOMPATIBLE or DATABASE_TOO_NEW: it is a newer Tenon's.
    """
    with _tar_errors(), tarfile.open(fileobj=stream, mode="r|", bufsize=MIB) as tar:
        reader = _ArchiveReader(tar, receive, progress)
        header = Header.parse(reader.read_document(HEADER))
        header.check()
        while (member := reader.next()) is not None and member[0].kind is not Kind.MANIFEST:
            reader.pass_on(*member)
        if member is None:
            raise _not_whole()
        manifest = Manifest.parse(reader.read(*member))
        manifest.check_versions()
        reader.tally.check(manifest)
        return header, manifest


class _ArchiveReader:
    def __init__(self, tar: tarfile.TarFile, receive: Receive, progress: Progress) -> None:
        self._tar = tar
        self._receive = receive
        self._progress = progress
        self.tally: Final = Tally()

    def read_document(self, name: str) -> bytes:
        """Read the next member, which must have this name."""
        found = self.next()
        if found is None or found[0].name != name:
            raise DomainError(Reason.INVALID_ARGUMENT, "This is no backup that Tenon wrote.")
        return self.read(*found)

    def next(self) -> tuple[Member, tarfile.TarInfo] | None:
        """Go to the next member, and check what its header says; None at the end."""
        info = self._tar.next()
        _forget_members(self._tar)
        if info is None:
            return None
        member = parse_member(info.name)
        if info.type != tarfile.REGTYPE or info.sparse is not None:
            text = f"{member.name} is a link or another thing in the archive that no backup of Tenon's has."
            raise DomainError(Reason.INVALID_ARGUMENT, text)
        if not 0 <= info.size <= MOST_BYTES.get(member.kind, info.size):
            text = f"{member.name} has {info.size} bytes in the archive, more than there can be."
            raise DomainError(Reason.INVALID_ARGUMENT, text)
        self.tally.begin(member)
        return member, info

    def read(self, member: Member, info: tarfile.TarInfo) -> bytes:
        """Read a member into memory."""
        return b"".join(self._chunks(member, info))

    def pass_on(self, member: Member, info: tarfile.TarInfo) -> None:
        """Hand a member to the receiver, and see whether it was what its name says."""
        reading = _Reading(self._chunks(member, info), self._progress)
        chunks = iter(lambda: reading.read(MIB), b"")
        self._receive(member, info.size, chunks)
        for _ in chunks:
            pass
        found = reading.found()
        if member.kind is Kind.BLOB and found.digest != member.digest:
            text = f"The archive is damaged: the bytes of {member.name} have the digest {found.digest}."
            raise DomainError(Reason.ARTIFACT_CORRUPT, text, {"members": member.name})
        self.tally.end(member, found)

    def _chunks(self, member: Member, info: tarfile.TarInfo) -> Iterator[bytes]:
        content = self._tar.extractfile(info)
        while content is not None and (chunk := content.read(MIB)):
            if member.kind is Kind.DATABASE:
                self.tally.database(chunk)
            yield chunk


def _at_least(chunks: Iterable[bytes], size: int, member: Member) -> Iterator[bytes]:
    left = size
    for chunk in chunks:
        left -= len(chunk)
        yield chunk
    if left > 0:
        text = f"{member.name} ends {left} bytes early: it was cut while it was written to the archive."
        raise DomainError(Reason.ARTIFACT_CORRUPT, text)


class _Reading:
    """A file over chunks, as tarfile wants one, which remembers what went through."""

    def __init__(self, chunks: Iterable[bytes], progress: Progress) -> None:
        self._chunks = iter(chunks)
        self._progress = progress
        self._rest = bytearray()
        self._sha256, self._size = hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, None)) is not None:
            self._rest += chunk
        piece = bytes(self._rest[:size])
        del self._rest[:size]
        self._sha256.update(piece)
        self._size += len(piece)
        self._progress(len(piece))
        return piece

    def found(self) -> Blob:
        return Blob(self._sha256.hexdigest(), self._size)


def _forget_members(tar: tarfile.TarFile) -> None:
    """Let go of what tarfile remembers: an object for every member, of which there may be many."""
    tar.members.clear()  # type: ignore[attr-defined]  # in every version of the standard library, if not in its stubs


@contextmanager
def _tar_errors() -> Iterator[None]:
    try:
        yield
    # tarfile lets some faults of a header through as they are.
    except (tarfile.TarError, EOFError, ValueError, OverflowError, ArithmeticError) as error:
        raise _not_whole() from error


def _not_whole() -> DomainError:
    text = f"This is no whole backup that Tenon wrote: it ends before its {MANIFEST}, or is damaged on the way there."
    return DomainError(Reason.INVALID_ARGUMENT, text)
