"""``tenon.trainer.v1.AdapterTransferService``."""

# gRPC fixes the names and the signatures of these methods.
# ruff: noqa: ARG002, N802

from collections.abc import AsyncIterator
from typing import Any, Final

from grpc import aio

from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, ProjectName, check_slug
from services.common.settings import MIB
from services.trainer.transfer.adapter_export import AdapterExports
from services.trainer.transfer.adapter_files import NewFile, Part
from services.trainer.transfer.adapter_import import AdapterImports
from tenon.trainer.v1 import adapter_transfer_pb2 as transfer_pb2
from tenon.trainer.v1 import adapter_transfer_pb2_grpc as transfer_pb2_grpc

MAX_CHUNK_BYTES: Final = 4 * MIB

Context = aio.ServicerContext[Any, Any]


class AdapterTransferServicer(transfer_pb2_grpc.AdapterTransferServiceServicer):
    """Messages in, use case, messages out."""

    def __init__(self, imports: AdapterImports, exports: AdapterExports) -> None:
        """Serve these."""
        self._imports = imports
        self._exports = exports

    async def ImportAdapter(
        self, request_iterator: AsyncIterator[transfer_pb2.ImportAdapterRequest], context: Context
    ) -> transfer_pb2.ImportAdapterResponse:
        """Take a PEFT directory as a new version."""
        start = await _start(request_iterator)
        project = ProjectName.parse(start.parent, "start.parent").project
        adapter = AdapterName(project, check_slug(start.adapter_id, "start.adapter_id"))
        base_model = BaseModelName.parse(start.base_model, "start.base_model")
        version = await self._imports.take(adapter, base_model, _parts(request_iterator))
        return transfer_pb2.ImportAdapterResponse(adapter_version=str(version))

    async def ReadAdapterFile(
        self, request: transfer_pb2.ReadAdapterFileRequest, context: Context
    ) -> AsyncIterator[transfer_pb2.ReadAdapterFileResponse]:
        """Stream a file of a version."""
        name = AdapterVersionName.parse(request.adapter_version, "adapter_version")
        content = await self._exports.read(name, request.path)
        yield transfer_pb2.ReadAdapterFileResponse(size_bytes=content.size)
        async for chunk in content.chunks:
            yield transfer_pb2.ReadAdapterFileResponse(chunk=chunk)


async def _start(requests: AsyncIterator[transfer_pb2.ImportAdapterRequest]) -> transfer_pb2.ImportStart:
    async for request in requests:
        if request.WhichOneof("part") != "start":
            break
        return request.start
    raise _invalid("the first message must be start")


async def _parts(requests: AsyncIterator[transfer_pb2.ImportAdapterRequest]) -> AsyncIterator[Part]:
    async for request in requests:
        kind = request.WhichOneof("part")
        if kind == "file":
            yield NewFile(request.file.path)
        elif kind == "chunk":
            if len(request.chunk) > MAX_CHUNK_BYTES:
                raise _invalid(f"a chunk has {len(request.chunk)} bytes; at most {MAX_CHUNK_BYTES} are accepted")
            yield request.chunk
        else:
            raise _invalid("every message after the first must be file or chunk")


def _invalid(text: str) -> DomainError:
    return DomainError(
        Reason.INVALID_ARGUMENT, f"The stream is not valid: {text}.", violations=[Violation("part", text)]
    )
