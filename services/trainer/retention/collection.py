"""Garbage collection: blobs that no version, data set, checkpoint or publication refers to are deleted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final

from services.common.artifacts.names import SUITE
from services.common.artifacts.store import ArtifactStore, StoredBlob
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import ProjectName
from services.trainer.storage.store import BlobLedger
from services.trainer.support.threads import in_daemon_thread
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc

AT_ONCE: Final = 500
"""How many blobs the registry is asked about at a time; a listing of S3 has pages of 1000."""


@dataclass(slots=True)
class Collected:
    """What a collection has done.

    Attributes:
        blob_count, size_bytes: of what was looked at.
        collected_count, collected_bytes: of what was deleted, or would have been.
    """

    blob_count: int = 0
    size_bytes: int = 0
    collected_count: int = 0
    collected_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Deletes what nothing refers to.

    Whoever publishes holds the digests before it uploads, and a digest is locked while it is decided about. So either the bytes are
    seen to be needed, or they are gone before somebody looks whether they are there.

    Attributes:
        artifacts: where the bytes are.
        blobs: what the trainer needs of them.
        adapters: the registry, which knows what versions need.
        grace_seconds: what was put within this time stays; others may have put it who hold nothing.
    """

    artifacts: ArtifactStore
    blobs: BlobLedger
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"  # the class exists in the stubs alone
    grace_seconds: float

    async def collect(self, *, dry_run: bool = False) -> Collected:
        """Look at every blob.

        Raises:
            DomainError: SETTINGS_INVALID: the store is another suite's; DATABASE_UNAVAILABLE; SERVICE_UNAVAILABLE;
                ARTIFACT_STORE_UNAVAILABLE. What was collected until then is gone.
        """
        await self._require_own_store()
        done = Collected()
        await self.blobs.forget_holds()
        for project in await in_daemon_thread(lambda: list(self.artifacts.projects())):
            listed = self.artifacts.blobs(project)
            while some := await in_daemon_thread(partial(_next, listed)):
                await self._collect(project, some, done, dry_run=dry_run)
        return done

    async def _require_own_store(self) -> None:
        """To a database that is new, or the wrong one, everything in a store looks as if nobody needed it."""
        suite = await self.blobs.suite()
        if await in_daemon_thread(partial(self.artifacts.claim, suite)) != suite:
            text = (
                f"{self.artifacts!r} is the artifact store of another suite, or of another database of this one, so nothing is "
                f"deleted from it. Give each suite a store of its own (TENON_ARTIFACTS_URL); where nobody else needs this one "
                f"any more, remove {SUITE} from it."
            )
            raise DomainError(Reason.SETTINGS_INVALID, text)

    async def _collect(self, project: str, some: Sequence[StoredBlob], done: Collected, *, dry_run: bool) -> None:
        since = datetime.now(UTC) - timedelta(seconds=self.grace_seconds)
        old = {blob.digest: blob for blob in some if blob.put_time < since}
        done.blob_count += len(some)
        done.size_bytes += sum(blob.size for blob in some)
        # In this order: what a job publishes is in its manifest until the registry has it.
        manifests = map(AdapterManifest.from_bytes, await self.blobs.manifests_to_publish(project))
        published = {file.sha256 for manifest in manifests for file in manifest.files}
        request = adapter_pb2.FindUsedFilesRequest(
            parent=str(ProjectName(project)), sha256s=sorted(old.keys() - published)
        )
        used = set((await self.adapters.FindUsedFiles(request)).sha256s) if request.sha256s else set()
        for digest in set(request.sha256s) - used:
            if await self.blobs.if_unneeded(project, digest, partial(self._discard, project, digest, dry_run=dry_run)):
                done.collected_count += 1
                done.collected_bytes += old[digest].size

    async def _discard(self, project: str, digest: str, *, dry_run: bool) -> None:
        if not dry_run:
            await in_daemon_thread(partial(self.artifacts.delete, project, digest))


def _next(listed: Iterator[StoredBlob]) -> list[StoredBlob]:
    return list(islice(listed, AT_ONCE))
