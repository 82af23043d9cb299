"""An archive in memory, and ways to make it wrong."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256

from cli.suite.backup.archive import read_archive, writing
from cli.suite.backup.layout import MANIFEST, PIECE_BYTES, SIGNING_KEY, Member, parse_member
from cli.suite.backup.manifest import Header, Manifest
from cli.suite.postgres.programs import MAJOR_VERSION

BLOBS = (b"one", b"", b"three" * 1000)
DUMP = bytes(range(256)) * (PIECE_BYTES // 256) + b"and a second piece"

Members = list[tuple[tarfile.TarInfo, bytes]]
Change = Callable[[Members], Members]


def nothing(_: int) -> None:
    pass


def make_archive(dump: bytes = DUMP) -> bytes:
    """Write a whole archive, with every kind of member."""
    sink = io.BytesIO()
    with writing(sink, nothing) as archive:
        for data in BLOBS:
            archive.add(Member.blob("default", sha256(data).hexdigest()), len(data), [data])
        archive.add_small(parse_member(SIGNING_KEY), b"private")
        archive.add_small(Member.trusted_key("suite.pem"), b"public")
        archive.add_database(io.BytesIO(dump))
        database, keys, blobs = archive.tally.contents()
        manifest = Manifest(
            create_time=datetime(2026, 1, 2, tzinfo=UTC),
            postgres=MAJOR_VERSION,
            schemas={},
            database=database,
            keys=keys,
            blobs=blobs,
        )
        archive.add_small(parse_member(MANIFEST), manifest.to_bytes())
    return sink.getvalue()


def read(data: bytes) -> tuple[dict[str, bytes], Header, Manifest]:
    """Read an archive; answers what was received."""
    received: dict[str, bytes] = {}

    def receive(member: Member, size: int, chunks: Iterator[bytes]) -> None:
        received[member.name] = b"".join(chunks)
        assert len(received[member.name]) == size

    header, manifest = read_archive(io.BytesIO(data), receive, nothing)
    return received, header, manifest


def changed(data: bytes, change: Change) -> bytes:
    """Write an archive anew with other members."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = []
        for info in tar.getmembers():
            opened = tar.extractfile(info)
            assert opened is not None
            members.append((info, opened.read()))
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in change(members):
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """A member of any name and kind."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return info, content


def rewritten(name: str, **fields: object) -> Change:
    """A document of the archive with other fields."""

    def change(members: Members) -> Members:
        return [
            (info, json.dumps({**json.loads(content), **fields}).encode() if info.name == name else content)
            for info, content in members
        ]

    return change
