"""``/v1/datasets``: the check of a file without storing it, and what a base makes of a stored one."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from gateway.mapping.datasets import preview_object
from gateway.mapping.files import check_lines, check_spec, statistics_object
from gateway.names import base_model_name, dataset_name
from gateway.routes.parameters import FileId
from gateway.schemas.datasets import MeasureQuery, Preview, PreviewQuery
from gateway.schemas.files import CheckQuery, Statistics
from gateway.services import Services, ServicesOf
from gateway.sse import started
from gateway.uploads import GuardedStream, chunked
from tenon.trainer.v1 import dataset_pb2

router = APIRouter(tags=["Data sets"])

CHECK_PATH = "/v1/datasets/check"
"""A path whose bodies are files, as an expression."""

_BYTES = {
    "requestBody": {
        "description": "The bytes of a file of training rows.",
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/v1/datasets/check", response_class=StreamingResponse, openapi_extra=_BYTES)
async def check_file(
    query: Annotated[CheckQuery, Query()], request: Request, services: ServicesOf
) -> StreamingResponse:
    """Check a file without storing it: JSON lines, each a ``fault``, and at the end the ``summary``."""
    lines = await started(_check(services, request, check_spec(query)))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.get("/v1/datasets/{file_id}/statistics")
async def measure_file(file_id: FileId, query: Annotated[MeasureQuery, Query()], services: ServicesOf) -> Statistics:
    """Count a file's tokens as training would: how long rows are, what is learnt, what is cut."""
    request = dataset_pb2.MeasureDatasetRequest(
        name=str(dataset_name(file_id)),
        base_model=str(base_model_name(query.base_model, "base_model")),
        max_sequence_length=query.max_sequence_length,
    )
    answer = await services.datasets.MeasureDataset(request, timeout=services.settings.upload_seconds)
    return statistics_object(answer.statistics)


@router.get("/v1/datasets/{file_id}/preview")
async def preview_file(file_id: FileId, query: Annotated[PreviewQuery, Query()], services: ServicesOf) -> Preview:
    """Show some rows of a file as training sees them: their tokens, and which of them are learnt."""
    request = dataset_pb2.PreviewDatasetRequest(
        name=str(dataset_name(file_id)),
        base_model=str(base_model_name(query.base_model, "base_model")),
        max_sequence_length=query.max_sequence_length,
        skip=query.skip,
        limit=query.limit,
    )
    return preview_object(await services.datasets.PreviewDataset(request, timeout=services.settings.upload_seconds))


async def _check(services: Services, request: Request, spec: dataset_pb2.CheckDatasetSpec) -> AsyncIterator[str]:
    messages = GuardedStream(_check_messages(request, spec))
    call = services.datasets.CheckDataset(aiter(messages), timeout=services.settings.upload_seconds)
    try:
        answers = aiter(call)
        while (answer := await messages.unless_failed(anext(answers, None))) is not None:
            for line in check_lines(answer):
                yield json.dumps(line, ensure_ascii=False) + "\n"
    finally:
        call.cancel()


async def _check_messages(
    request: Request, spec: dataset_pb2.CheckDatasetSpec
) -> AsyncIterator[dataset_pb2.CheckDatasetRequest]:
    yield dataset_pb2.CheckDatasetRequest(spec=spec)
    async with aclosing(request.stream()) as body:
        async for chunk in chunked(body):
            yield dataset_pb2.CheckDatasetRequest(chunk=chunk)
