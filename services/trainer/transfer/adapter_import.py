"""Adapters that come from elsewhere: received, checked as a whole, signed if need be, and published."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.common.admission.directory import ENVELOPE_FILE, MANIFEST_FILE, read_file
from services.common.admission.pipeline import verify_adapter
from services.common.admission.seal import make_declared
from services.common.errors import DomainError
from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName
from services.common.signing import SigningKey, sign
from services.common.signing.trust import Trust
from services.trainer.support.places import without_place
from services.trainer.support.threads import in_daemon_thread
from services.trainer.transfer.adapter_files import Part, received_files
from services.trainer.transfer.publish import Publisher
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest and who vouches for it.

    Attributes:
        manifest: names the files.
        envelope: its signatures.
    """

    manifest: AdapterManifest
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterImports:
    """Takes adapters in.

    Attributes:
        base_models: the registry, for the base.
        publisher: where adapters go; must not wait for outages, for somebody waits here.
        signing_key: vouches for what is declared.
        trust: whose manifests are taken as they are.
        max_bytes: how much of an adapter is accepted.
        upload_dir: where its files lie while they are checked; None is the system's temporary directory.
    """

    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"  # the class exists in the stubs alone
    publisher: Publisher
    signing_key: SigningKey
    trust: Trust
    max_bytes: int
    upload_dir: Path | None

    async def take(
        self, adapter: AdapterName, base_model: BaseModelName, parts: AsyncIterator[Part]
    ) -> AdapterVersionName:
        """Make a READY version of the files that arrive, and point ``latest`` at it.

        Everything is checked before anything is stored, and nothing stays on this machine whatever happens. What fails
        between store and registry may leave blobs that no version names; sending the same again goes on from there.

        Args:
            adapter: gets the version; made if it is not there.
            base_model: the base it is for.
            parts: its files.

        Raises:
            DomainError: BASE_MODEL_NOT_FOUND; INVALID_ARGUMENT, LIMIT_EXCEEDED and ARTIFACT_STORE_FULL of the stream; why
                the adapter is refused; SERVICE_UNAVAILABLE, ARTIFACT_STORE_UNAVAILABLE.
        """
        document = await self._fingerprint(base_model)
        async with received_files(parts, directory=self.upload_dir, max_bytes=self.max_bytes) as directory:
            sealed = await in_daemon_thread(partial(self._seal, directory, document, base_model))
            await self.publisher.upload(adapter.project, sealed.manifest, directory)
            return await self.publisher.register(adapter, sealed.manifest, sealed.envelope)

    async def _fingerprint(self, base_model: BaseModelName) -> bytes:
        request = base_model_pb2.GetBaseModelRequest(name=str(base_model), view=base_model_pb2.BASE_MODEL_VIEW_FULL)
        return (await self.base_models.GetBaseModel(request)).base_model.fingerprint.document

    def _seal(self, directory: Path, document: bytes, base_model: BaseModelName) -> Sealed:
        """Check what arrived; blocks for as long as reading it takes."""
        fingerprint = BaseFingerprint.from_document(document)
        with without_place(directory, "The adapter"):
            if (directory / MANIFEST_FILE).exists():
                return self._as_it_is(directory, fingerprint, base_model)
            return self._declare(directory, fingerprint, base_model)

    def _as_it_is(self, directory: Path, fingerprint: BaseFingerprint, base_model: BaseModelName) -> Sealed:
        report = verify_adapter(directory, fingerprint, self.trust, base_name=str(base_model))
        if report.reason is not None:
            raise DomainError(report.reason, report.sentence, {**report.metadata, "provenance": report.provenance})
        manifest = AdapterManifest.from_bytes(read_file(directory, MANIFEST_FILE) or b"")
        return Sealed(manifest, read_file(directory, ENVELOPE_FILE) or b"")

    def _declare(self, directory: Path, fingerprint: BaseFingerprint, base_model: BaseModelName) -> Sealed:
        manifest = make_declared(directory, fingerprint, str(base_model))
        return Sealed(manifest, sign(manifest.to_bytes(), self.signing_key).to_bytes())
