"""Discarding the checkpoints that nobody can need any more."""

import asyncio
from functools import partial
from typing import Final

import structlog

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError
from services.trainer.storage.store import JobStore
from services.trainer.support.threads import in_daemon_thread

AT_ONCE: Final = 100

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def discard_checkpoints(jobs: JobStore, artifacts: ArtifactStore) -> int:
    """Discard what can be discarded now, and return how much it was.

    First the bytes, then the note that they are gone: whoever is killed in between leaves it to be done again.

    Raises:
        DomainError: DATABASE_UNAVAILABLE; ARTIFACT_STORE_UNAVAILABLE.
    """
    count = 0
    while found := await jobs.discardable(AT_ONCE):
        for project, checkpoint in found:
            await in_daemon_thread(partial(artifacts.delete, project, checkpoint.sha256))
            await jobs.discarded(checkpoint.number)
            count += 1
    return count


async def keep_discarding(jobs: JobStore, artifacts: ArtifactStore, interval_seconds: float) -> None:
    """Discard checkpoints again and again, for ever; what is down is waited for."""
    while True:
        try:
            count = await discard_checkpoints(jobs, artifacts)
        except DomainError as error:
            log.warning("cannot discard checkpoints", reason=error.reason)
        else:
            if count:
                log.info("checkpoints discarded", count=count)
        await asyncio.sleep(interval_seconds)
