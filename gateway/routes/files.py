"""``/v1/files``."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from gateway.mapping.files import file_object, format_to_proto
from gateway.multipart import read_form
from gateway.names import dataset_name, last_part, parent
from gateway.routes.common import RequestId, backwards, cursor_page
from gateway.routes.parameters import FileId
from gateway.schemas.common import CursorListing
from gateway.schemas.files import FileCursor, FileDeleted, FileObject
from gateway.services import Services, ServicesOf
from gateway.sse import started
from gateway.uploads import GuardedStream, UploadForm, chunked
from tenon.trainer.v1 import dataset_pb2

router = APIRouter(tags=["Files"])

UPLOAD_PATH = "/v1/files"
"""A path whose bodies are files, as an expression."""

_FORM = {
    "requestBody": {
        "description": "A file of training rows, as a form.",
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "purpose": {"type": "string", "enum": ["fine-tune"], "description": "What the file is for."},
                        "format": {
                            "type": "string",
                            "enum": ["alpaca", "sharegpt", "openai_chat", "prompt_completion"],
                            "description": "Tenon's own: the rows' layout; left out, it is detected. Before the file.",
                        },
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The file, under its own name.",
                        },
                    },
                }
            }
        },
    }
}


@router.post("/v1/files", openapi_extra=_FORM)
async def upload_file(request: Request, services: ServicesOf, request_id: RequestId = "") -> FileObject:
    """Store a file of training rows. With a faulty row nothing is stored, and every fault told has its line."""
    form = UploadForm(read_form(request))
    await form.open()
    spec = dataset_pb2.DatasetUploadSpec(
        parent=parent(),
        display_name=form.filename,
        format=format_to_proto(form.fields.get("format")),
        request_id=request_id,
    )
    return file_object((await _upload(services, spec, form)).dataset)


@router.get("/v1/files")
async def list_files(query: Annotated[FileCursor, Query()], services: ServicesOf) -> CursorListing[FileObject]:
    """List files, newest first unless asked otherwise."""
    if query.purpose not in {None, "fine-tune"}:
        return CursorListing(data=[])

    async def fetch(size: int, token: str) -> tuple[Sequence[dataset_pb2.Dataset], str]:
        request = dataset_pb2.ListDatasetsRequest(parent=parent(), page_size=size, page_token=token)
        page = await services.datasets.ListDatasets(request)
        return page.datasets, page.next_page_token

    pages = fetch if query.order == "desc" else backwards(fetch)
    return await cursor_page(pages, lambda d: last_part(d.name), file_object, after=query.after, limit=query.limit)


@router.get("/v1/files/{file_id}")
async def get_file(file_id: FileId, services: ServicesOf) -> FileObject:
    """Describe a file."""
    request = dataset_pb2.GetDatasetRequest(name=str(dataset_name(file_id)))
    return file_object((await services.datasets.GetDataset(request)).dataset)


@router.get("/v1/files/{file_id}/content", response_class=StreamingResponse)
async def download_file(file_id: FileId, services: ServicesOf) -> StreamingResponse:
    """Send a file's bytes as they were uploaded."""
    described = await get_file(file_id, services)
    chunks = await started(_download(services, file_id))
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(described.filename, safe='')}"}
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


@router.delete("/v1/files/{file_id}")
async def delete_file(file_id: FileId, services: ServicesOf, request_id: RequestId = "") -> FileDeleted:
    """Delete a file; jobs that used it stay."""
    request = dataset_pb2.DeleteDatasetRequest(name=str(dataset_name(file_id)), request_id=request_id)
    await services.datasets.DeleteDataset(request)
    return FileDeleted(id=file_id)


async def _upload(
    services: Services, spec: dataset_pb2.DatasetUploadSpec, form: UploadForm
) -> dataset_pb2.UploadDatasetResponse:
    messages = GuardedStream(_upload_messages(spec, form))
    call = services.datasets.UploadDataset(aiter(messages), timeout=services.settings.upload_seconds)
    try:
        return await messages.unless_failed(call)
    finally:
        call.cancel()


async def _upload_messages(
    spec: dataset_pb2.DatasetUploadSpec, form: UploadForm
) -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(spec=spec)
    async for chunk in chunked(form.file()):
        yield dataset_pb2.UploadDatasetRequest(chunk=chunk)


async def _download(services: Services, file_id: str) -> AsyncIterator[bytes]:
    request = dataset_pb2.DownloadDatasetRequest(name=str(dataset_name(file_id)))
    call = services.datasets.DownloadDataset(request, timeout=services.settings.upload_seconds)
    try:
        async for answer in call:
            yield answer.chunk
    finally:
        call.cancel()
