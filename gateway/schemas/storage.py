"""What lies in the artifact store."""

from typing import Literal

from pydantic import ConfigDict, Field

from gateway.schemas.common import Accepted, Answered


class CollectGarbage(Accepted):
    """How to collect garbage."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(False, description="Only say what would be deleted.")


class GarbageCollection(Answered):
    """What a garbage collection has done."""

    object: Literal["garbage_collection"] = "garbage_collection"
    dry_run: bool = Field(description="Whether nothing was deleted.")
    blob_count: int = Field(description="How many blobs were looked at.")
    size_bytes: int = Field(description="Their bytes together.")
    collected_count: int = Field(description="How many of them were deleted, or would be.")
    collected_bytes: int = Field(description="Their bytes together.")
