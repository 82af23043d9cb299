"""From files and a manifest to a READY version: artifact store first, then the registry. Every step may be repeated."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, ProjectName
from services.trainer.storage.store import BlobLedger
from services.trainer.support.retry import Persistence, Tell, through_outages
from services.trainer.support.threads import in_daemon_thread
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc

LATEST: Final = "latest"
"""The alias that follows every training."""

FINALIZE_SECONDS: Final = 600.0
"""The registry reads every file back."""


HOLD_SECONDS: Final = 24 * 3600.0
"""Longer than it takes from the first upload to the version. A job that waits longer keeps its manifest meanwhile."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes adapter versions.

    Attributes:
        artifacts: where files go.
        adapters: the registry.
        blobs: keeps what is uploaded from being collected before a version names it.
        persist: what to do while registry, store or database are down; by default, wait.
    """

    artifacts: ArtifactStore
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"  # the class exists in the stubs alone
    blobs: BlobLedger
    persist: Persistence = through_outages

    async def upload(self, project: str, manifest: AdapterManifest, directory: Path, tell: Tell | None = None) -> None:
        """Put the files of a manifest into the artifact store.

        Raises:
            DomainError: ARTIFACT_CORRUPT: a file changed after it was listed.
        """
        digests = [file.sha256 for file in manifest.files]
        await self.persist(lambda: self.blobs.hold(project, digests, HOLD_SECONDS), tell)
        for file in manifest.files:
            await self.persist(partial(self._put, project, directory / file.path), tell)
        if not await self.holds(project, manifest):
            text = "The adapter's files changed while they were published. Let nothing write to them, and start again."
            raise DomainError(Reason.ARTIFACT_CORRUPT, text)

    async def holds(self, project: str, manifest: AdapterManifest) -> bool:
        """Whether the artifact store has every file of the manifest."""
        return all([await self.persist(partial(self._has, project, file.sha256)) for file in manifest.files])

    async def register(
        self, adapter: AdapterName, manifest: AdapterManifest, envelope: bytes, tell: Tell | None = None
    ) -> AdapterVersionName:
        """Make a READY version of files that are in the store, and point ``latest`` at it unless its gate says no.

        Args:
            adapter: made if it is not there.
            manifest: names the files.
            envelope: the manifest's signatures.
            tell: awaited with the first outage of each step.

        Raises:
            DomainError: whatever the registry has against it.
        """
        data = manifest.to_bytes()
        version = AdapterVersionName(adapter.project, adapter.adapter, manifest.digest)
        await self.persist(lambda: self._ensure_adapter(adapter), tell)
        create = adapter_pb2.CreateAdapterVersionRequest(parent=str(adapter), manifest=data, envelope=envelope)
        await self.persist(lambda: self.adapters.CreateAdapterVersion(create), tell)
        finalize = adapter_pb2.FinalizeAdapterVersionRequest(name=str(version))
        await self.persist(lambda: self.adapters.FinalizeAdapterVersion(finalize, timeout=FINALIZE_SECONDS), tell)
        alias = adapter_pb2.Alias(name=str(AliasName(adapter.project, adapter.adapter, LATEST)), version=str(version))
        update = adapter_pb2.UpdateAliasRequest(alias=alias, allow_missing=True)
        try:
            await self.persist(lambda: self.adapters.UpdateAlias(update), tell)
        except DomainError as error:
            # The version is READY all the same, and whoever gated the alias wants it to stay where it is.
            if error.reason is not Reason.VERDICT_NOT_ADMITTED:
                raise
            if tell is not None:
                await tell(error)
        return version

    async def _put(self, project: str, path: Path) -> None:
        # Not a thread of the pool: a store that hangs would take one after another of them.
        await in_daemon_thread(partial(self.artifacts.put_file, project, path))

    async def _has(self, project: str, digest: str) -> bool:
        try:
            await in_daemon_thread(partial(self.artifacts.stat, project, digest))
        except DomainError as error:
            if error.reason is not Reason.ARTIFACT_NOT_FOUND:
                raise
            return False
        return True

    async def _ensure_adapter(self, adapter: AdapterName) -> None:
        request = adapter_pb2.CreateAdapterRequest(
            parent=str(ProjectName(adapter.project)), adapter_id=adapter.adapter, adapter=adapter_pb2.Adapter()
        )
        try:
            await self.adapters.CreateAdapter(request)
        except DomainError as error:
            if error.reason is not Reason.ADAPTER_EXISTS:
                raise
