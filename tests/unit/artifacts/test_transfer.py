"""Limits, ranges and hashing."""

import hashlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.artifacts.store import CHUNK_BYTES, Blob
from services.common.artifacts.transfer import byte_range, expect_digest, hash_into, limited, read_exactly
from services.common.errors import DomainError, Reason

CHUNKS = st.lists(st.binary(max_size=40), max_size=12)


@given(CHUNKS)
def test_hashing_passes_everything_on(chunks: list[bytes]) -> None:
    written: list[bytes] = []
    blob = hash_into(chunks, written.append)
    whole = b"".join(chunks)
    assert written == chunks
    assert blob == Blob(hashlib.sha256(whole).hexdigest(), len(whole))


@given(CHUNKS, st.integers(0, 200))
def test_a_limit_lets_exactly_as_much_through(chunks: list[bytes], limit: int) -> None:
    passed: list[bytes] = []
    if sum(map(len, chunks)) <= limit:
        assert list(limited(chunks, limit)) == chunks
        return
    with pytest.raises(DomainError) as caught:
        passed.extend(limited(chunks, limit))
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert caught.value.metadata == {"max_bytes": str(limit)}
    assert sum(map(len, passed)) <= limit


@given(st.binary(max_size=50), st.integers(-5, 60), st.none() | st.integers(-5, 60))
def test_a_range_is_what_a_slice_is(data: bytes, offset: int, length: int | None) -> None:
    blob = Blob("0" * 64, len(data))
    if 0 <= offset <= len(data) and (length is None or length >= 0):
        start, count = byte_range(blob, offset, length)
        assert data[start : start + count] == data[offset : None if length is None else offset + length]
        assert start + count <= len(data)
        return
    with pytest.raises(DomainError) as caught:
        byte_range(blob, offset, length)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


def test_reading_asks_for_no_more_than_is_left() -> None:
    asked: list[int] = []

    def read(length: int) -> bytes:
        asked.append(length)
        return bytes(min(length, 700_000))

    assert sum(map(len, read_exactly(read, CHUNK_BYTES + 1))) == CHUNK_BYTES + 1
    assert asked == [CHUNK_BYTES, CHUNK_BYTES + 1 - 700_000]


def test_bytes_that_end_early_are_damage() -> None:
    source = BytesIO(b"abc")
    with pytest.raises(DomainError, match="ends 7 bytes early") as caught:
        list(read_exactly(source.read, 10))
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


def test_without_an_expected_digest_every_blob_is_right() -> None:
    blob = Blob("1" * 64, 1)
    expect_digest(blob, None, "uploaded")
    expect_digest(blob, "1" * 64, "uploaded")
    with pytest.raises(DomainError, match=r"uploaded have the digest 1+, not 2+") as caught:
        expect_digest(blob, "2" * 64, "uploaded")
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
