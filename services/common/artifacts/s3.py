"""Blobs as objects in a bucket of an S3-compatible server."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import S3Error

from services.common.artifacts import failures
from services.common.artifacts.names import (
    PROJECTS,
    SUITE,
    blob_key,
    blobs_prefix,
    check_upload,
    digest_of_key,
    project_of_key,
)
from services.common.artifacts.s3_errors import MISSING, NOT_S3, s3_errors
from services.common.artifacts.spool import spool
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

MIB: Final = 1 << 20

PART_BYTES: Final = 8 * MIB
"""What one request uploads at most, and what a put keeps in memory before it goes to a temporary file."""

MAX_PARTS: Final = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

PARALLEL_PARTS: Final = 3

PROBE: Final = ".tenon-artifacts"
"""The empty object that `check` writes."""

_DIGEST_METADATA: Final = "sha256"

# What AWS Signature Version 4 allows.
_SHORTEST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class S3Server:
    """How to reach an S3-compatible server.

    Attributes:
        endpoint: host or host:port.
        access_key, secret_key: Both or neither; without them requests are anonymous.
        region: The bucket's region, so that none has to be asked for.
        secure: Whether to use TLS.
        connect_seconds, read_seconds: How long a connection and a silent answer are waited for.
        retries: How often a failed request is sent again.
    """

    endpoint: str
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    secure: bool = True
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    retries: int = 3

    def client(self) -> Minio:
        """Make a client whose waiting and retrying is bounded; it connects with its first request.

        Raises:
            DomainError: SETTINGS_INVALID for an endpoint that is no host.
        """
        retry = urllib3.Retry(
            self.retries,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,  # a server must not make a caller wait for an hour
        )
        timeout = urllib3.Timeout(connect=self.connect_seconds, read=self.read_seconds)
        pool = urllib3.PoolManager(maxsize=16, timeout=timeout, retries=retry)
        try:
            return Minio(
                self.endpoint,
                access_key=self.access_key,
                secret_key=self.secret_key,
                region=self.region,
                secure=self.secure,
                http_client=pool,
            )
        except ValueError:
            message = "TENON_S3_ENDPOINT must be host or host:port, without http:// and without a path."
            raise DomainError(Reason.SETTINGS_INVALID, message) from None


class S3Store:
    """The artifact store in a bucket, below a prefix.

    The bucket must exist, and the credentials need GetObject, PutObject, DeleteObject and ListBucket (without the last
    one S3 answers "denied" where a blob is missing, and the store counts as unavailable).
    """

    def __init__(self, server: S3Server, bucket: str, prefix: str = "") -> None:
        """Use `bucket`; `prefix` comes before every key, without slashes around it. Nothing is sent yet."""
        self._client = server.client()
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._name = f"s3://{bucket}/{self._prefix} at {server.endpoint}"
        self._errors = partial(s3_errors, self._name)

    def __repr__(self) -> str:
        """Say where it is, without credentials."""
        return f"S3Store({self._name!r})"

    def put(self, project: str, chunks: Iterable[bytes], *, max_bytes: int, expected_digest: str | None = None) -> Blob:
        """See `ArtifactStore.put`.

        The key is the digest, which is known only after the last byte. So the bytes wait in an anonymous temporary file
        (in memory while they are few), at most `max_bytes` of them. Uploading under a passing key and copying on the
        server would need no disk here, but double the traffic there, stop at 5 GiB a copy, and leave strangers in the
        bucket when a process dies; also, a blob that is already there would be sent again, and none could be retried.
        """
        check_upload(project, expected_digest)
        with spool(PART_BYTES) as spooled:
            blob = hash_into(limited(chunks, max_bytes), spooled.write)
            expect_digest(blob, expected_digest, "uploaded")
            if not self._has(project, blob):
                self._upload(self._key(project, blob.digest), spooled.rewound(), blob)
        return blob

    def put_file(self, project: str, path: Path) -> Blob:
        """See `ArtifactStore.put_file`. Spooled too: the file may change between hashing and sending."""
        size, chunks = file_chunks(path)
        return self.put(project, chunks, max_bytes=size)

    def stat(self, project: str, digest: str) -> Blob:
        """See `ArtifactStore.stat`."""
        found = self._find(self._key(project, digest))
        if found is None:
            raise failures.not_found(project, digest)
        return Blob(digest, found.size or 0)

    def read(self, project: str, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ArtifactStore.read`."""
        start, count = byte_range(self.stat(project, digest), offset, length)
        return self._stream(project, digest, start, count)

    def fetch(self, project: str, digest: str, destination: Path) -> None:
        """See `ArtifactStore.fetch`."""
        save(self.read(project, digest), digest, destination)

    def verify(self, project: str, digest: str) -> Blob:
        """See `ArtifactStore.verify`."""
        return rehash(self.read(project, digest), digest)

    def delete(self, project: str, digest: str) -> None:
        """See `ArtifactStore.delete`."""
        key = self._key(project, digest)
        with self._errors():
            self._client.remove_object(self._bucket, key)

    def projects(self) -> Iterator[str]:
        """See `ArtifactStore.projects`."""
        for found in self._list(PROJECTS, recursive=False):
            if project := project_of_key(self._below(found)):
                yield project

    def blobs(self, project: str) -> Iterator[StoredBlob]:
        """See `ArtifactStore.blobs`."""
        for found in self._list(blobs_prefix(project), recursive=True):
            digest = digest_of_key(self._below(found))
            if digest and found.last_modified:
                yield StoredBlob(digest, found.size or 0, found.last_modified)

    def claim(self, suite: str) -> str:
        """See `ArtifactStore.claim`."""
        key, data = f"{self._prefix}{SUITE}", suite.encode()
        with self._errors():
            if self._find(key) is None:
                self._client.put_object(self._bucket, key, BytesIO(data), len(data))
            response = self._client.get_object(self._bucket, key)
            try:
                return response.read().decode()
            finally:
                response.close()
                response.release_conn()

    def check(self) -> None:
        """See `ArtifactStore.check`: one empty object is written, always the same."""
        with self._errors():
            self._client.put_object(self._bucket, f"{self._prefix}{PROBE}", BytesIO(), 0)

    def presign_get(self, project: str, digest: str, expires: timedelta) -> str | None:
        """See `ArtifactStore.presign_get`. The signature is made here; the server is not asked."""
        key = self._key(project, digest)
        if not _SHORTEST <= expires <= _LONGEST:
            message = f"A download URL cannot be valid for {expires}; choose between one second and seven days."
            raise DomainError(Reason.INVALID_ARGUMENT, message)
        return self._client.presigned_get_object(self._bucket, key, expires=expires)

    def _list(self, prefix: str, *, recursive: bool) -> Iterator[Object]:
        with self._errors():
            try:
                yield from self._client.list_objects(self._bucket, f"{self._prefix}{prefix}", recursive=recursive)
            except (ParseError, ValueError):  # the client reads what it was sent as it is
                raise failures.unavailable(self._name, NOT_S3) from None

    def _below(self, found: Object) -> str:
        return str(found.object_name).removeprefix(self._prefix)

    def _key(self, project: str, digest: str) -> str:
        return f"{self._prefix}{blob_key(project, digest)}"

    def _has(self, project: str, blob: Blob) -> bool:
        """Say whether a finished put left this very object; one that something else overwrote is put again."""
        found = self._find(self._key(project, blob.digest))
        if found is None or found.size != blob.size:
            return False
        return (found.metadata or {}).get(f"x-amz-meta-{_DIGEST_METADATA}") == blob.digest

    def _find(self, key: str) -> Object | None:
        with self._errors():
            try:
                return self._client.stat_object(self._bucket, key)
            except S3Error as error:
                if error.code not in MISSING:
                    raise
            # The answer to HEAD has no body to say what is missing. Without its bucket the store is down, not empty.
            if not self._client.bucket_exists(self._bucket):
                raise failures.unavailable(self._name, "the bucket does not exist; create it")
        return None

    def _upload(self, key: str, data: BinaryIO, blob: Blob) -> None:
        """Send the spooled bytes: an object appears with its last byte, and the client signs the digest of each part."""
        part = max(PART_BYTES, -(-blob.size // MAX_PARTS // MIB) * MIB)
        with self._errors():
            self._client.put_object(
                self._bucket,
                key,
                data,
                blob.size,
                part_size=part,
                num_parallel_uploads=PARALLEL_PARTS,
                metadata={_DIGEST_METADATA: blob.digest},
            )

    def _stream(self, project: str, digest: str, start: int, count: int) -> Iterator[bytes]:
        if count == 0:  # S3 has no empty range
            return
        key = self._key(project, digest)
        with self._errors():
            try:
                response = self._client.get_object(self._bucket, key, offset=start, length=count)
            except S3Error as error:
                if error.code in MISSING:
                    raise failures.not_found(project, digest) from None
                raise
        try:
            self._expect_length(response.headers.get("Content-Length"), count)
            yield from read_exactly(partial(self._read_chunk, response), count)
        finally:
            response.close()
            response.release_conn()

    def _expect_length(self, announced: str | None, count: int) -> None:
        """Refuse the answer of a server that passes over the range asked for."""
        if announced != str(count):
            raise failures.unavailable(self._name, f"it announced {announced} bytes where {count} were asked for")

    def _read_chunk(self, response: urllib3.BaseHTTPResponse, length: int) -> bytes:
        with self._errors():
            return response.read(length)
