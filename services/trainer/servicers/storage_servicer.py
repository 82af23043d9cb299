"""``tenon.trainer.v1.StorageService``."""

# gRPC fixes the names and the signatures of these methods.
# ruff: noqa: ARG002, N802

from dataclasses import asdict
from typing import Any

from grpc import aio

from services.trainer.retention.collection import Collector
from tenon.trainer.v1 import storage_pb2, storage_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """Messages in, use case, messages out."""

    def __init__(self, collector: Collector) -> None:
        """Serve garbage collection."""
        self._collector = collector

    async def CollectGarbage(
        self, request: storage_pb2.CollectGarbageRequest, context: Context
    ) -> storage_pb2.CollectGarbageResponse:
        """Delete what nothing refers to."""
        return storage_pb2.CollectGarbageResponse(**asdict(await self._collector.collect(dry_run=request.dry_run)))
