"""Discarding the checkpoints that nobody can need any more."""

from functools import partial
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.trainer.storage.store import JobStore
from services.trainer.support.threads import in_daemon_thread

AT_ONCE: Final = 100


async def discard_checkpoints(jobs: JobStore, artifacts: ArtifactStore) -> int:
    """Discard what can be discarded now, and return how much it was.

    First the bytes, then the note that they are gone: whoever is killed in between leaves it to be done again.

    Raises:
        DomainError: DATABASE_UNAVAILABLE; ARTIFACT_STORE_UNAVAILABLE.
    """
    count = 0
    while found := await jobs.discardable(AT_ONCE):
        for project, checkpoint in found:
            delete = partial(artifacts.delete, project, checkpoint.sha256)
            count += await jobs.discard(project, checkpoint, partial(in_daemon_thread, delete))
    return count
