"""Bytes on their way out of the artifact store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from services.common.artifacts import failures
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.resource_names import DatasetName


async def stored_bytes(artifacts: ArtifactStore, project: str, sha256: str) -> AsyncIterator[bytes]:
    """Yield a blob's bytes, at most 1 MiB at a time and no faster than they are taken.

    Raises:
        DomainError: ARTIFACT_NOT_FOUND, ARTIFACT_STORE_UNAVAILABLE; ARTIFACT_CORRUPT at the end, where the bytes turn out
            not to have their digest.
    """
    digest = hashlib.sha256()
    chunks = await asyncio.to_thread(artifacts.read, project, sha256)
    while chunk := await asyncio.to_thread(next, chunks, b""):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise failures.corrupt(sha256, digest.hexdigest(), "in the artifact store")


def lost(name: DatasetName) -> DomainError:
    """The error of a data set whose bytes are not in the store any more."""
    text = f"The bytes of {name} are no longer those that were uploaded. Delete it and upload the file again."
    return DomainError(Reason.ARTIFACT_CORRUPT, text, {"dataset": str(name)})
