import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.admission.header import PREFIX_BYTES, header_range, read_header
from services.common.errors import DomainError, Reason
from services.common.identity.safetensors_header import MAX_HEADER_BYTES
from services.common.manifest import ManifestFile
from tests.unit.admission.build import Adapter

DATA = Adapter().weights
HEADER = DATA[8 : 8 + int.from_bytes(DATA[:8], "little")]
FILE = ManifestFile("adapter_model.safetensors", len(DATA), "0" * 64, hashlib.sha256(HEADER).hexdigest())


def prefix(length: int) -> bytes:
    return length.to_bytes(8, "little")


def test_a_header_is_found_and_read_from_ranges() -> None:
    begin, end = header_range(DATA[:PREFIX_BYTES], len(DATA), what=FILE.path)

    assert DATA[begin:end] == HEADER
    assert {entry.name for entry in read_header(HEADER, file=FILE)} == set(Adapter().tensors)


def test_another_header_than_the_published_is_corrupt_before_it_is_parsed() -> None:
    with pytest.raises(DomainError) as caught:
        read_header(b"{" * 100_000, file=FILE)

    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


@pytest.mark.parametrize("header", [b"", b"{}", b"[]", b"\xff", HEADER[:-9], HEADER.replace(b"F32", b"F33")])
def test_a_malformed_header_without_a_digest_is_invalid(header: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        read_header(header, file=replace(FILE, header_sha256=None))

    assert caught.value.reason is Reason.SAFETENSORS_INVALID


@pytest.mark.parametrize(
    ("reason", "start", "size"),
    [
        (Reason.SAFETENSORS_INVALID, b"", 0),
        (Reason.SAFETENSORS_INVALID, b"\x08\x00", 2),
        (Reason.SAFETENSORS_INVALID, prefix(100), 50),
        (Reason.SAFETENSORS_INVALID, prefix(2**64 - 1), 50),
        (Reason.LIMIT_EXCEEDED, prefix(MAX_HEADER_BYTES + 1), 2**40),
        (Reason.ADAPTER_UNSAFE_FILES, b"PK\x03\x04\x00\x00\x08\x08", 5000),
        (Reason.ADAPTER_UNSAFE_FILES, b"\x80\x02}q\x00X\x01\x00", 5000),
    ],
    ids=["empty", "two-bytes", "beyond", "huge", "limit", "zip", "pickle"],
)
def test_no_more_is_asked_for_than_the_file_can_have(reason: Reason, start: bytes, size: int) -> None:
    with pytest.raises(DomainError) as caught:
        header_range(start, size, what="adapter_model.safetensors")

    assert caught.value.reason is reason


@given(st.binary(max_size=200))
def test_any_header_is_read_or_refused(header: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        read_header(header, file=replace(FILE, header_sha256=None))

    assert caught.value.reason is Reason.SAFETENSORS_INVALID
