"""What is written is read, and nothing else: archives that are cut, changed, or somebody else's."""

import io
import tarfile
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.suite.backup.archive import writing
from cli.suite.backup.layout import HEADER, MANIFEST, MIB, Member
from cli.suite.backup.manifest import FORMAT
from cli.suite.postgres.programs import MAJOR_VERSION
from services.common.errors import DomainError, Reason
from tests.unit.backup.samples import BLOBS, DUMP, Change, changed, make_archive, member, nothing, read, rewritten

ARCHIVE = make_archive()
SMALL = make_archive(b"a dump")
WHOLE = read(SMALL)[0]
DIGEST = "a" * 64


def refusal(data: bytes) -> DomainError:
    with pytest.raises(DomainError) as raised:
        read(data)
    return raised.value


def test_what_is_written_is_read() -> None:
    received, header, manifest = read(ARCHIVE)
    blobs = {f"blobs/default/{sha256(data).hexdigest()}": data for data in BLOBS}
    assert {name: received[name] for name in blobs} == blobs
    assert received["database/000000"] + received["database/000001"] == DUMP
    assert (received["keys/signing.pem"], received["keys/trusted/suite.pem"]) == (b"private", b"public")
    assert header.format == FORMAT
    assert (manifest.blobs.count, manifest.blobs.size) == (len(BLOBS), sum(map(len, BLOBS)))
    assert (manifest.database.count, manifest.database.size) == (2, len(DUMP))


@pytest.mark.parametrize("left", [0, 1, 511, 512, 2000, len(ARCHIVE) // 2, len(ARCHIVE) - 20_000])
def test_an_archive_that_was_cut_off_is_refused(left: int) -> None:
    assert refusal(ARCHIVE[:left]).reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/cron.d/outside",
        "blobs/../outside/" + DIGEST,
        "blobs/default/../../outside",
        "keys/trusted/../../outside.pem",
        "keys/trusted/..",
        "keys/trusted/.hidden/x.pem",
        "keys/trusted/line\nbreak.pem",
        "keys/other.pem",
        "run/lock",
        "run/../run/admin.key",
        "postgres/password",
        "database/0",
        "database/00000x",
        f"blobs/Default/{DIGEST}",
        f"blobs/default/{DIGEST.upper()}",
        f"blobs/default/{DIGEST}/x",
        "",
        ".",
        "x" * 300,
    ],
)
def test_a_name_that_no_backup_has_is_refused(name: str) -> None:
    error = refusal(changed(SMALL, lambda members: [members[0], member(name), *members[1:]]))
    assert error.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_a_link_and_whatever_is_no_file_is_refused(kind: bytes) -> None:
    error = refusal(changed(SMALL, lambda members: [members[0], member("keys/trusted/x.pem", kind=kind), *members[1:]]))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert "keys/trusted/x.pem" in error.message


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        (lambda members: members[1:], Reason.INVALID_ARGUMENT, "no backup"),
        (lambda members: members[:-1], Reason.INVALID_ARGUMENT, "no whole backup"),
        (lambda members: [*members[:2], *members[1:]], Reason.INVALID_ARGUMENT, "twice"),
        (lambda members: [members[0], *members[2:]], Reason.ARTIFACT_CORRUPT, "blobs"),
        (lambda members: [members[0], members[2], members[1], *members[3:]], Reason.ARTIFACT_CORRUPT, "blobs"),
        (
            lambda members: [members[0], (members[1][0], b"two"), *members[2:]],
            Reason.ARTIFACT_CORRUPT,
            sha256(BLOBS[0]).hexdigest(),
        ),
        (
            lambda members: [found if "signing" not in found[0].name else (found[0], b"another") for found in members],
            Reason.ARTIFACT_CORRUPT,
            "keys/signing.pem",
        ),
        (lambda members: [members[0], member("run/admin.key"), *members[1:]], Reason.ARTIFACT_CORRUPT, "run/admin.key"),
        (
            lambda members: [members[0], member("keys/trusted/big.pem", b"x" * MIB), *members[1:]],
            Reason.INVALID_ARGUMENT,
            "keys/trusted/big.pem has 1048576 bytes",
        ),
        (
            lambda members: [found for found in members if "000000" not in found[0].name],
            Reason.INVALID_ARGUMENT,
            "place",
        ),
        (
            lambda members: [found for found in members if "000001" not in found[0].name],
            Reason.ARTIFACT_CORRUPT,
            "database",
        ),
    ],
)
def test_what_the_manifest_does_not_say_is_refused(change: Change, reason: Reason, told: str) -> None:
    error = refusal(changed(ARCHIVE, change))
    assert (error.reason, told in error.message) == (reason, True), error.message


@pytest.mark.parametrize(
    ("name", "fields", "reason", "told"),
    [
        (HEADER, {"format": FORMAT + 1, "tenon": "9.0"}, Reason.DATA_DIRECTORY_INCOMPATIBLE, "Tenon 9.0"),
        (HEADER, {"format": "one"}, Reason.INVALID_ARGUMENT, "format is wrong in its header"),
        (MANIFEST, {"postgres": MAJOR_VERSION + 1}, Reason.DATA_DIRECTORY_INCOMPATIBLE, "PostgreSQL"),
        (MANIFEST, {"schemas": {"registry": {"99": DIGEST}}}, Reason.DATABASE_TOO_NEW, "migration 99"),
        (MANIFEST, {"schemas": {"registry": {"1": DIGEST}}}, Reason.DATABASE_TOO_NEW, "other statements"),
        (MANIFEST, {"schemas": {"billing": {"1": DIGEST}}}, Reason.DATABASE_TOO_NEW, "billing"),
        (MANIFEST, {"blobs": None}, Reason.INVALID_ARGUMENT, "blobs is wrong in its manifest"),
    ],
)
def test_a_newer_tenons_archive_is_refused(name: str, fields: dict[str, object], reason: Reason, told: str) -> None:
    error = refusal(changed(ARCHIVE, rewritten(name, **fields)))
    assert (error.reason, told in error.message) == (reason, True), error.message


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(SMALL) - 1), value=st.integers(0, 255), length=st.integers(1, 40))
def test_other_bytes_are_refused_or_mean_the_same(place: int, value: int, length: int) -> None:
    wrong = bytearray(SMALL)
    wrong[place : place + length] = bytes([value]) * min(length, len(SMALL) - place)
    # Any other exception fails the test.
    with suppress(DomainError):
        received, _, _ = read(bytes(wrong))
        assert received == WHOLE


def test_a_blob_that_is_cut_while_it_is_written_fails() -> None:
    with writing(io.BytesIO(), nothing) as archive, pytest.raises(DomainError) as raised:
        archive.add(Member.blob("default", DIGEST), 10, [b"short"])
    assert raised.value.reason is Reason.ARTIFACT_CORRUPT


def test_the_name_of_a_trusted_key_must_fit() -> None:
    with pytest.raises(DomainError) as raised:
        Member.trusted_key("a\nb.pem")
    assert raised.value.reason is Reason.KEY_INVALID
    assert Member.trusted_key("the key of May.pem").name == "keys/trusted/the key of May.pem"
