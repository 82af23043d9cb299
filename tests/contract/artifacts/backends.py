"""The stores under test, each with what a test must be able to do behind its back."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Protocol

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.names import blob_key
from services.common.artifacts.s3 import PROBE, S3Store
from services.common.artifacts.store import ArtifactStore
from tests.support.s3.process import S3Process

BUCKET = "tenon-artifacts"


class Backend(Protocol):
    """A store and the power over what lies beneath it."""

    @property
    def store(self) -> ArtifactStore:
        """The store under test."""

    def overwrite(self, project: str, digest: str, data: bytes) -> None:
        """Replace the stored bytes of a blob, as no store would."""

    def held(self) -> list[str]:
        """List everything the store keeps, finished or not."""

    def outage(self) -> AbstractContextManager[None]:
        """Take away what the store stands on for the time of the context."""


class FileSystemBackend:
    """A directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FileSystemStore.open(root)

    def overwrite(self, project: str, digest: str, data: bytes) -> None:
        (self.root / blob_key(project, digest)).write_bytes(data)

    def held(self) -> list[str]:
        files = (path for name in ("projects", "tmp") for path in (self.root / name).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.root)) for path in files)

    @contextmanager
    def outage(self) -> Iterator[None]:
        away = self.root.with_name("unmounted")
        self.root.rename(away)
        try:
            yield
        finally:
            away.rename(self.root)


class S3Backend:
    """A prefix of its own in a bucket of the session's server."""

    def __init__(self, process: S3Process, prefix: str) -> None:
        self.process = process
        self.prefix = prefix
        self.store = S3Store(process.server(), BUCKET, prefix)
        self._client = process.client()

    def overwrite(self, project: str, digest: str, data: bytes) -> None:
        self._client.put_object(BUCKET, f"{self.prefix}/{blob_key(project, digest)}", BytesIO(data), len(data))

    def held(self) -> list[str]:
        prefix = f"{self.prefix}/"
        keys = [str(found.object_name) for found in self._client.list_objects(BUCKET, prefix, recursive=True)]
        return sorted(key.removeprefix(prefix) for key in keys if not key.endswith(PROBE))

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.process.stop()
        try:
            yield
        finally:
            self.process.start()
