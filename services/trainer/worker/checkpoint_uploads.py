"""A running job's checkpoints on their way into the artifact store, beside the training."""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from services.common.artifacts.store import ArtifactStore
from services.common.artifacts.transfer import file_chunks, hash_into
from services.common.errors import DomainError, Reason
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import CheckpointDraft, CheckpointKept, Lease, StepMetrics
from services.trainer.recipe.protocol import Level
from services.trainer.support.retry import through_outages
from services.trainer.support.threads import in_daemon_thread
from services.trainer.worker.recorder import Recorder

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TEXT: Final = "A checkpoint could not be kept ({reason}). Training goes on; the next one is tried again."


@dataclass(frozen=True, slots=True)
class _Written:
    path: Path
    metrics: StepMetrics


class CheckpointUploads:
    """Uploads one checkpoint at a time and tells of each; an async context manager that lets go of what is left.

    While the store is down the training goes on: of the checkpoints it writes meanwhile only the newest waits. A checkpoint
    counts once the event that tells of it is written, which is after every step that is done in it.
    """

    def __init__(self, queue: JobQueue, lease: Lease, artifacts: ArtifactStore, recorder: Recorder) -> None:
        """Upload for a job that is held."""
        self._queue = queue
        self._lease = lease
        self._artifacts = artifacts
        self._recorder = recorder
        self._waiting: _Written | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._working: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to upload."""
        self._working = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop, whatever is still to be uploaded."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})

    def offer(self, path: Path, metrics: StepMetrics) -> None:
        """Upload a file that will not change, soon; one that still waits is forgotten."""
        if self._waiting is not None:
            self._waiting.path.unlink(missing_ok=True)
        self._waiting = _Written(path, metrics)
        self._idle.clear()
        self._news.set()

    async def finish(self) -> None:
        """Return when everything is uploaded and told, however long that takes; cancel to give up."""
        await self._idle.wait()

    async def _work(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while (written := self._waiting) is not None:
                    self._waiting = None
                    await self._keep(written)
                self._idle.set()
        finally:
            self._idle.set()

    async def _keep(self, written: _Written) -> None:
        try:
            await self._upload(written)
        except DomainError as error:
            log.warning("checkpoint not kept", reason=error.reason, message=error.message)
            if error.reason is not Reason.LEASE_LOST:
                await self._recorder.say(Level.WARNING, _TEXT.format(reason=error.reason))
        finally:
            written.path.unlink(missing_ok=True)

    async def _tell(self, error: DomainError) -> None:
        text = f"A checkpoint has to wait ({error.reason}). Training goes on; the checkpoint is kept once that is over."
        await self._recorder.say(Level.WARNING, text)

    async def _upload(self, written: _Written) -> None:
        project, step = self._lease.name.project, written.metrics.step
        blob = await in_daemon_thread(lambda: hash_into(file_chunks(written.path)[1], lambda _: None))
        draft = CheckpointDraft(step=step, sha256=blob.digest, size=blob.size, metrics=written.metrics)
        # Known before it is there, so that it is discarded even if nobody lives to tell that it is.
        await through_outages(lambda: self._queue.announce_checkpoint(self._lease, draft))
        put = partial(self._artifacts.put_file, project, written.path)
        stored = await through_outages(lambda: in_daemon_thread(put), self._tell)
        if stored != blob:
            raise DomainError(
                Reason.ARTIFACT_CORRUPT, f"The checkpoint after step {step} changed while it was uploaded."
            )
        await self._recorder.checkpoint(CheckpointKept(step, blob.size, blob.digest))
