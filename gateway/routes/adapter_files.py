"""Adapters in and out, as the files of a PEFT directory."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse

from gateway.adapter_form import AdapterForm
from gateway.mapping.adapters import version_object
from gateway.multipart import FileStart, read_form
from gateway.names import adapter_name, base_model_name, parent, version_name
from gateway.routes.parameters import AdapterId, VersionId
from gateway.schemas.adapters import AdapterVersion
from gateway.services import Services, ServicesOf
from gateway.sse import started
from gateway.uploads import GuardedStream
from services.common.admission.directory import ENVELOPE_FILE, MANIFEST_FILE
from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName
from tenon.registry.v1 import adapter_pb2
from tenon.trainer.v1 import adapter_transfer_pb2 as transfer_pb2

router = APIRouter(tags=["Adapters"])

IMPORT_PATH: Final = "/v1/adapters/[^/]+/versions"
"""The path whose body is an adapter, as an expression."""

_FORM: Final = {
    "requestBody": {
        "description": "The files of a PEFT directory, as a form.",
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["base_model", "file"],
                    "properties": {
                        "base_model": {
                            "type": "string",
                            "description": "Id of the base it was trained on. Before the files.",
                        },
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "adapter_config.json, adapter_model.safetensors and, if the adapter has them, "
                            "tenon.manifest.json with tenon.manifest.dsse.json; each under its own name.",
                        },
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class _Described:
    """A file before it is read."""

    size: int
    sha256: str


@router.post("/v1/adapters/{adapter_id}/versions", openapi_extra=_FORM)
async def import_version(adapter_id: AdapterId, request: Request, services: ServicesOf) -> AdapterVersion:
    """Take a PEFT directory as a new version, and point ``latest`` at it. The same files again are the same version."""
    adapter = adapter_name(adapter_id, "adapter_id")
    form = AdapterForm(read_form(request))
    start = transfer_pb2.ImportStart(
        parent=parent(), adapter_id=adapter.adapter, base_model=str(base_model_name(await form.open(), "base_model"))
    )
    name = (await _import(services, start, form)).adapter_version
    found = await services.adapters.GetAdapterVersion(adapter_pb2.GetAdapterVersionRequest(name=name))
    return version_object(found.adapter_version)


@router.get(
    "/v1/adapters/{adapter_id}/versions/{version}/files/{path}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def read_version_file(
    adapter_id: AdapterId,
    version: VersionId,
    path: Annotated[str, Path(description="The file's name, tenon.manifest.json and its signatures included.")],
    services: ServicesOf,
) -> StreamingResponse:
    """Send a file of a version; its ETag is the SHA-256 of its bytes."""
    adapter = adapter_name(adapter_id, "adapter_id")
    described = await _describe(services, adapter, version, path)
    # Waits for the first bytes, so that what speaks against sending them is still an answer of its own.
    chunks = await started(_read(services, adapter, version, path))
    headers = {
        "Content-Length": str(described.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path, safe='')}",
        "ETag": f'"{described.sha256}"',
    }
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


async def _import(
    services: Services, start: transfer_pb2.ImportStart, form: AdapterForm
) -> transfer_pb2.ImportAdapterResponse:
    messages = GuardedStream(_import_messages(start, form))
    call = services.transfers.ImportAdapter(aiter(messages), timeout=services.settings.upload_seconds)
    try:
        return await messages.unless_failed(call)
    finally:
        call.cancel()


async def _import_messages(
    start: transfer_pb2.ImportStart, form: AdapterForm
) -> AsyncIterator[transfer_pb2.ImportAdapterRequest]:
    yield transfer_pb2.ImportAdapterRequest(start=start)
    async for part in form.files():
        if isinstance(part, FileStart):
            yield transfer_pb2.ImportAdapterRequest(file=transfer_pb2.FileStart(path=part.filename))
        else:
            yield transfer_pb2.ImportAdapterRequest(chunk=part)


async def _describe(services: Services, adapter: AdapterName, version: str, path: str) -> _Described:
    request = adapter_pb2.GetAdapterVersionRequest(name=str(version_name(adapter, version)))
    found = (await services.adapters.GetAdapterVersion(request)).adapter_version
    documents = {MANIFEST_FILE: found.manifest, ENVELOPE_FILE: found.envelope}
    known = {file.path: _Described(file.size_bytes, file.sha256) for file in found.files}
    known |= {name: _Described(len(data), hashlib.sha256(data).hexdigest()) for name, data in documents.items()}
    if path not in known:
        text = f"{adapter.adapter}@{version} has no file {path[:80]!r}; it has {', '.join(known)}."
        raise DomainError(Reason.ARTIFACT_NOT_FOUND, text, {"path": path[:80]})
    return known[path]


async def _read(services: Services, adapter: AdapterName, version: str, path: str) -> AsyncIterator[bytes]:
    request = transfer_pb2.ReadAdapterFileRequest(adapter_version=str(version_name(adapter, version)), path=path)
    call = services.transfers.ReadAdapterFile(request, timeout=services.settings.upload_seconds)
    try:
        async for answer in call:
            if answer.chunk:
                yield answer.chunk
    finally:
        call.cancel()
