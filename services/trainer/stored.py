"""Bytes on their way out of the artifact store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from services.common.artifacts import failures
from services.common.artifacts.store import ArtifactStore


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
