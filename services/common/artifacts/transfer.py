"""Moving bytes in and out of a store: limits, ranges, hashing on the way."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from services.common.artifacts import failures
from services.common.artifacts.atomic import pending_file
from services.common.artifacts.store import CHUNK_BYTES, Blob
from services.common.errors import DomainError, Reason, Violation


def limited(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Pass `chunks` on as long as they stay within `max_bytes` together.

    Raises:
        DomainError: LIMIT_EXCEEDED, before the first byte too many is passed on.
    """
    left = max_bytes
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise failures.too_large(max_bytes)
        yield chunk


def hash_into(chunks: Iterable[bytes], write: Callable[[bytes], object]) -> Blob:
    """Hand each chunk to `write` and return what they are together."""
    sha256, size = hashlib.sha256(), 0
    for chunk in chunks:
        sha256.update(chunk)
        write(chunk)
        size += len(chunk)
    return Blob(sha256.hexdigest(), size)


def expect_digest(blob: Blob, digest: str | None, where: str) -> None:
    """Hold `blob` against a digest, where there is one to hold it against.

    Raises:
        DomainError: ARTIFACT_CORRUPT.
    """
    if digest is not None and blob.digest != digest:
        raise failures.corrupt(digest, blob.digest, where)


def rehash(chunks: Iterable[bytes], digest: str) -> Blob:
    """Read stored bytes to the end and hold them against their digest.

    Raises:
        DomainError: ARTIFACT_CORRUPT.
    """
    blob = hash_into(chunks, lambda _chunk: None)
    expect_digest(blob, digest, "in the artifact store")
    return blob


def save(chunks: Iterable[bytes], digest: str, destination: Path) -> None:
    """Write stored bytes to a file that appears only when they have their digest.

    Raises:
        DomainError: ARTIFACT_CORRUPT; ARTIFACT_STORE_FULL; DATA_DIRECTORY_UNUSABLE.
    """
    errors = partial(failures.local_disk_errors, str(destination))
    with errors():
        destination.parent.mkdir(parents=True, exist_ok=True)
    with pending_file(destination.parent, errors) as pending:
        expect_digest(hash_into(chunks, pending.write), digest, "in the artifact store")
        pending.commit(destination)


def file_chunks(path: Path) -> tuple[int, Iterator[bytes]]:
    """Return the size of the file at `path` and its bytes.

    Raises:
        DomainError: INVALID_ARGUMENT where there is no readable file.
    """
    if not path.is_file():
        raise DomainError(Reason.INVALID_ARGUMENT, f"There is no file {path} to store.")
    return path.stat().st_size, _read_file(path)


def byte_range(blob: Blob, offset: int, length: int | None) -> tuple[int, int]:
    """Return the offset and the number of bytes that a range names in `blob`; one past the end is cut there.

    Raises:
        DomainError: INVALID_ARGUMENT for a negative number or an offset after the end.
    """
    if not 0 <= offset <= blob.size or (length is not None and length < 0):
        message = f"The range of {length} bytes from {offset} is not inside the blob, which has {blob.size} bytes."
        raise DomainError(
            Reason.INVALID_ARGUMENT, message, violations=(Violation("offset", "must be inside the blob"),)
        )
    left = blob.size - offset
    return offset, left if length is None else min(length, left)


def read_exactly(read: Callable[[int], bytes], length: int) -> Iterator[bytes]:
    """Yield `length` bytes from `read`, in chunks.

    Raises:
        DomainError: ARTIFACT_CORRUPT where they end early.
    """
    left = length
    while left:
        chunk = read(min(CHUNK_BYTES, left))
        if not chunk:
            message = (
                f"The blob ends {left} bytes early: it was cut while it was read. Upload it again from its origin."
            )
            raise DomainError(Reason.ARTIFACT_CORRUPT, message)
        left -= len(chunk)
        yield chunk


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        message = f"The file {path} cannot be read: {error.strerror}."
        raise DomainError(Reason.INVALID_ARGUMENT, message) from error
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
