"""What an artifact store is: the interface that services are written against."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 20
"""The most bytes that `ArtifactStore.read` hands out at a time, and the unit in which stores copy."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Immutable bytes in the store, known by their content.

    Attributes:
        digest: SHA-256 of the bytes, 64 lower-case hex digits.
        size: Length in bytes.
    """

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as a list of them tells it.

    Attributes:
        digest: SHA-256 of the bytes that were put.
        size: Length in bytes.
        put_time: When it was put, or put again, by the store's clock.
    """

    digest: str
    size: int
    put_time: datetime


class ArtifactStore(Protocol):
    """Blobs by project and digest.

    Every call is synchronous (an event loop calls it through `asyncio.to_thread`) and may be made from several threads
    and processes at once. A blob belongs to one project: its digest means nothing in another one.

    Every method raises `DomainError`:
        INVALID_ARGUMENT: the project is not a slug or the digest not 64 lower-case hex digits; nothing was touched.
        ARTIFACT_STORE_UNAVAILABLE: the store cannot be reached or written, with `retry_after`. It needs no restart.
    """

    def put(self, project: str, chunks: Iterable[bytes], *, max_bytes: int, expected_digest: str | None = None) -> Blob:
        """Store the bytes that `chunks` yields; after the return they are durable.

        Memory is bounded by the largest chunk. Until the last byte is checked nobody can see the blob, and where
        anything fails (an exception of `chunks` included, which passes through as it is) nothing stays behind.
        Storing what is already there changes nothing; storing it over a damaged copy repairs that.

        Raises:
            DomainError: ARTIFACT_CORRUPT where the bytes do not have `expected_digest`; LIMIT_EXCEEDED where there are
                more than `max_bytes`; ARTIFACT_STORE_FULL.
        """

    def put_file(self, project: str, path: Path) -> Blob:
        """Store a copy of the file at `path`.

        Raises:
            DomainError: INVALID_ARGUMENT where there is no readable file; LIMIT_EXCEEDED where it grows meanwhile;
                ARTIFACT_STORE_FULL.
        """

    def stat(self, project: str, digest: str) -> Blob:
        """Say what the store holds under the digest, without reading it.

        Raises:
            DomainError: ARTIFACT_NOT_FOUND.
        """

    def read(self, project: str, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, `length` of them or as many as there are, at most 1 MiB at a time.

        The range and the blob's presence are checked before the return; the bytes are not held against the digest.

        Raises:
            DomainError: ARTIFACT_NOT_FOUND; INVALID_ARGUMENT for a range that does not start inside the blob.
        """

    def fetch(self, project: str, digest: str, destination: Path) -> None:
        """Write the blob to a file, whose directory is made if need be; the file appears whole or not at all.

        Raises:
            DomainError: ARTIFACT_NOT_FOUND; ARTIFACT_CORRUPT where the bytes do not have their digest;
                ARTIFACT_STORE_FULL where the disk of `destination` is full; DATA_DIRECTORY_UNUSABLE where it cannot be
                written.
        """

    def verify(self, project: str, digest: str) -> Blob:
        """Read the whole blob again and hold it against its digest.

        Raises:
            DomainError: ARTIFACT_NOT_FOUND; ARTIFACT_CORRUPT.
        """

    def delete(self, project: str, digest: str) -> None:
        """Remove the blob; one that is not there is as good as removed."""

    def projects(self) -> Iterator[str]:
        """Yield the projects that have, or had, blobs."""

    def blobs(self, project: str) -> Iterator[StoredBlob]:
        """Yield a project's blobs; those that come or go meanwhile may be among them or not. Nothing else lies in wait here."""

    def claim(self, suite: str) -> str:
        """Return the id of the suite whose store this is; one that is nobody's becomes that of ``suite``."""

    def check(self) -> None:
        """Prove that the store can be reached and written now (readiness).

        Raises:
            DomainError: ARTIFACT_STORE_UNAVAILABLE, or ARTIFACT_STORE_FULL.
        """

    def presign_get(self, project: str, digest: str, expires: timedelta) -> str | None:
        """Return a URL from which anyone who has it can download the blob until it expires.

        None where the store cannot serve bytes itself. Whether the blob is there is not looked up.

        Raises:
            DomainError: INVALID_ARGUMENT for less than a second or more than seven days.
        """
