"""``tenon.trainer.v1.DatasetService``."""

# gRPC fixes the names and the signatures of these methods.
# ruff: noqa: ARG002, N802

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, TypeVar

from grpc import aio

from services.common.errors import DomainError, Reason, Violation
from services.common.idempotency import request_key
from services.common.resource_names import BaseModelName, DatasetName, ProjectName
from services.common.settings import MIB
from services.trainer.catalog.dataset_catalog import Checked, DatasetCatalog
from services.trainer.catalog.dataset_examination import DatasetExaminations
from services.trainer.model import Dataset
from services.trainer.servicers.convert import (
    dataset_to_proto,
    faults_to_proto,
    statistics_to_proto,
    upload_spec_from_proto,
)
from services.trainer.servicers.convert_examination import (
    check_spec_from_proto,
    checked_to_proto,
    optional_length,
    preview_to_proto,
    tokens_to_proto,
)
from services.trainer.servicers.once import Once
from tenon.trainer.v1 import dataset_pb2, dataset_pb2_grpc

MAX_CHUNK_BYTES: Final = MIB

Context = aio.ServicerContext[Any, Any]


class _Payload(Protocol):
    @property
    def chunk(self) -> bytes: ...

    def WhichOneof(self, oneof_group: Any, /) -> Any: ...


P = TypeVar("P", bound=_Payload)


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Messages in, use case, messages out."""

    def __init__(self, catalog: DatasetCatalog, examinations: DatasetExaminations) -> None:
        """Serve one catalog, and what a base makes of what is in it."""
        self._catalog = catalog
        self._examinations = examinations

    async def UploadDataset(
        self, request_iterator: AsyncIterator[dataset_pb2.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.UploadDatasetResponse:
        """Store a file as a data set, if every row is good."""
        spec = (await _first(request_iterator, "spec")).spec
        parsed = upload_spec_from_proto(spec)
        once = Once(request_key(parsed.parent.project, spec), dataset_pb2.UploadDatasetResponse, _uploaded)
        return await self._catalog.upload(parsed, _chunks(request_iterator), once)

    async def CheckDataset(
        self, request_iterator: AsyncIterator[dataset_pb2.CheckDatasetRequest], context: Context
    ) -> AsyncIterator[dataset_pb2.CheckDatasetResponse]:
        """Check a file without storing it."""
        spec = check_spec_from_proto(await _first(request_iterator, "format", "spec"))
        async for item in self._catalog.check(spec, _chunks(request_iterator)):
            if isinstance(item, Checked):
                yield checked_to_proto(item, spec.base_model)
            else:
                yield dataset_pb2.CheckDatasetResponse(faults=faults_to_proto(item))

    async def MeasureDataset(
        self, request: dataset_pb2.MeasureDatasetRequest, context: Context
    ) -> dataset_pb2.MeasureDatasetResponse:
        """Count a data set's tokens."""
        name, base = DatasetName.parse(request.name), BaseModelName.parse(request.base_model, "base_model")
        dataset, tokens = await self._examinations.measure(name, base, optional_length(request))
        return dataset_pb2.MeasureDatasetResponse(
            statistics=statistics_to_proto(dataset.statistics, tokens_to_proto(tokens, base))
        )

    async def PreviewDataset(
        self, request: dataset_pb2.PreviewDatasetRequest, context: Context
    ) -> dataset_pb2.PreviewDatasetResponse:
        """Show some rows as training sees them."""
        name, base = DatasetName.parse(request.name), BaseModelName.parse(request.base_model, "base_model")
        length = optional_length(request)
        shown = await self._examinations.preview(name, base, length, skip=request.skip, limit=request.limit)
        return preview_to_proto(shown)

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: Context
    ) -> dataset_pb2.GetDatasetResponse:
        """Return one data set."""
        dataset = await self._catalog.get(DatasetName.parse(request.name))
        return dataset_pb2.GetDatasetResponse(dataset=dataset_to_proto(dataset))

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Context
    ) -> dataset_pb2.ListDatasetsResponse:
        """List a project's data sets."""
        parent = ProjectName.parse(request.parent, "parent")
        datasets, token = await self._catalog.page(parent, request.page_size, request.page_token)
        return dataset_pb2.ListDatasetsResponse(datasets=map(dataset_to_proto, datasets), next_page_token=token)

    async def DownloadDataset(
        self, request: dataset_pb2.DownloadDatasetRequest, context: Context
    ) -> AsyncIterator[dataset_pb2.DownloadDatasetResponse]:
        """Stream a data set's bytes."""
        async for chunk in self._catalog.download(DatasetName.parse(request.name)):
            yield dataset_pb2.DownloadDatasetResponse(chunk=chunk)

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Delete a data set."""
        name, response = DatasetName.parse(request.name), dataset_pb2.DeleteDatasetResponse
        return await self._catalog.delete(name, Once(request_key(name.project, request), response, _deleted))


def _uploaded(dataset: Dataset) -> dataset_pb2.UploadDatasetResponse:
    return dataset_pb2.UploadDatasetResponse(dataset=dataset_to_proto(dataset))


def _deleted(_nothing: None) -> dataset_pb2.DeleteDatasetResponse:
    return dataset_pb2.DeleteDatasetResponse()


async def _first(requests: AsyncIterator[P], *wanted: str) -> P:
    async for request in requests:
        if request.WhichOneof("payload") not in wanted:
            break
        return request
    raise _refusal(f"the first message must carry {' or '.join(wanted)}")


async def _chunks(requests: AsyncIterator[P]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("payload") != "chunk":
            raise _refusal("every message after the first must carry chunk")
        if len(request.chunk) > MAX_CHUNK_BYTES:
            raise _refusal(f"a chunk has {len(request.chunk)} bytes; at most {MAX_CHUNK_BYTES} are accepted")
        yield request.chunk


def _refusal(text: str) -> DomainError:
    return DomainError(
        Reason.INVALID_ARGUMENT, f"The stream is not valid: {text}.", violations=[Violation("payload", text)]
    )
