"""``/v1/storage``: what lies in the artifact store."""

from fastapi import APIRouter

from gateway.schemas.storage import CollectGarbage, GarbageCollection
from gateway.services import ServicesOf
from tenon.trainer.v1 import storage_pb2

router = APIRouter(tags=["Storage"])


@router.post("/v1/storage/collect")
async def collect_garbage(services: ServicesOf, body: CollectGarbage | None = None) -> GarbageCollection:
    """Delete the bytes that nothing refers to any more; needs an admin key for all projects. The suite does so by itself now and then."""
    dry_run = body is not None and body.dry_run
    request = storage_pb2.CollectGarbageRequest(dry_run=dry_run)
    done = await services.storage.CollectGarbage(request, timeout=services.settings.upload_seconds)
    return GarbageCollection(
        dry_run=dry_run,
        blob_count=done.blob_count,
        size_bytes=done.size_bytes,
        collected_count=done.collected_count,
        collected_bytes=done.collected_bytes,
    )
