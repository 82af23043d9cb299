"""The files of versions on their way out: weights from the artifact store, manifest and signatures from the registry."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.common.admission.directory import ENVELOPE_FILE, MANIFEST_FILE
from services.common.artifacts.store import CHUNK_BYTES, ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterVersionName
from services.trainer.catalog.stored import stored_bytes
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file as it is sent.

    Attributes:
        size: bytes.
        chunks: the bytes; where they turn out not to be what was published, the end is an error.
    """

    size: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class AdapterExports:
    """Gives adapters out.

    Attributes:
        adapters: the registry.
        artifacts: where files are.
    """

    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"  # the class exists in the stubs alone
    artifacts: ArtifactStore

    async def read(self, name: AdapterVersionName, path: str) -> FileContent:
        """Find a file of a READY version.

        Raises:
            DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_NOT_READY; ADAPTER_VERSION_REVOKED;
                ARTIFACT_NOT_FOUND: the version has no such file. While reading: ADAPTER_FILES_MISSING; ARTIFACT_CORRUPT;
                ARTIFACT_STORE_UNAVAILABLE.
        """
        # Unlike GetAdapterVersion this refuses what is not ready or was withdrawn.
        request = adapter_pb2.ResolveAdapterRequest(name=str(name))
        version = (await self.adapters.ResolveAdapter(request)).adapter_version
        documents = {MANIFEST_FILE: version.manifest, ENVELOPE_FILE: version.envelope}
        if path in documents:
            return FileContent(len(documents[path]), _pieces(documents[path]))
        file = next((file for file in version.files if file.path == path), None)
        if file is None:
            raise _no_file(name, path, version)
        return FileContent(file.size_bytes, self._stored(name, file))

    async def _stored(self, name: AdapterVersionName, file: adapter_pb2.AdapterFile) -> AsyncIterator[bytes]:
        try:
            async for chunk in stored_bytes(self.artifacts, name.project, file.sha256):
                yield chunk
        except DomainError as error:
            if error.reason is not Reason.ARTIFACT_NOT_FOUND:
                raise
            text = f"{file.path} of {name} is not in the artifact store any more. Restore the store, or train again."
            raise DomainError(Reason.ADAPTER_FILES_MISSING, text, {"missing": "1"}) from None


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def _no_file(name: AdapterVersionName, path: str, version: adapter_pb2.AdapterVersion) -> DomainError:
    known = ", ".join([*(file.path for file in version.files), MANIFEST_FILE, ENVELOPE_FILE])
    return DomainError(
        Reason.ARTIFACT_NOT_FOUND,
        f"{name} has no file {path[:80]!r}; it has {known}.",
        {"adapter_version": str(name), "path": path[:80]},
    )
