"""The queue as workers see it: take a job, hold it, tell what happens, end it."""

import asyncio
from dataclasses import dataclass

import structlog

from services.common.errors import DomainError
from services.common.resource_names import AdapterVersionName
from services.trainer.jobs import rules
from services.trainer.model import (
    KEPT_CHECKPOINTS,
    Batch,
    CheckpointDraft,
    Claim,
    JobError,
    JobState,
    Lease,
    Told,
    TrainingJob,
)
from services.trainer.storage.store import DatasetStore, JobStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobQueue:
    """Leases on jobs.

    Every method that takes a lease raises LEASE_LOST once the job has changed hands, and nothing is written then.

    Attributes:
        jobs: where jobs are kept.
        datasets: where their data sets are kept.
        lease_seconds: how long a worker may be silent before it counts as lost.
        max_losses: after so many lost workers or training processes without a checkpoint in between the job fails.
        project_limit: how many jobs of a project may run at once; None for as many as there are workers.
    """

    jobs: JobStore
    datasets: DatasetStore
    lease_seconds: float
    max_losses: int
    project_limit: int | None = None

    async def claim(self, worker: str) -> Claim | None:
        """Take the queued job whose turn it is; None if there is none."""
        rule = rules.claim(worker, self.lease_seconds)
        job = await self.jobs.change_next_queued(rule, project_limit=self.project_limit)
        if job is None:
            return None
        validation = await self.datasets.get(job.validation_dataset) if job.validation_dataset else None
        return Claim(
            job,
            Lease(job.name, job.epoch),
            await self.datasets.get(job.dataset),
            validation,
            await self.jobs.manifest(job.name),
            tuple(c for c in await self.jobs.checkpoints(job.name, before=None, limit=KEPT_CHECKPOINTS) if c.stored),
        )

    async def recover(self) -> list[TrainingJob]:
        """Take every job from a worker that was not heard of: back to the queue, or to its end."""
        recovered: list[TrainingJob] = []
        rule = rules.lose(self.max_losses)
        while job := await self.jobs.change_expired(rule, grace_seconds=self.lease_seconds):
            log.warning("worker lost", training_job=str(job.name), attempt=job.attempt, state=job.state)
            recovered.append(job)
        return recovered

    async def heartbeat(self, lease: Lease) -> JobState:
        """Renew a lease and return the job's state: CANCELLING asks the worker to stop, PAUSING to let go of the job."""
        job = await self.jobs.change(lease.name, rules.heartbeat(lease, self.lease_seconds))
        return job.state

    async def append(self, lease: Lease, batch: Batch) -> None:
        """Write what happened; a batch written before is not written again."""
        await self.jobs.change(lease.name, rules.append(lease, batch))

    async def told(self, lease: Lease, *, after_step: int) -> Told:
        """Return what was told of the job already. Whoever holds it is the only one who tells more."""
        return await self.jobs.told(lease.name, after_step=after_step)

    async def announce_checkpoint(self, lease: Lease, draft: CheckpointDraft) -> None:
        """Say that a checkpoint is about to be uploaded; once it is, CheckpointKept belongs into a batch."""
        await self.jobs.change(lease.name, rules.announce_checkpoint(lease, draft))

    async def keep_manifest(self, lease: Lease, manifest: bytes) -> None:
        """Keep the bytes that name the version about to be published."""
        await self.jobs.change(lease.name, rules.keep_manifest(lease, manifest))

    async def succeed(self, lease: Lease, version: AdapterVersionName) -> None:
        """End a job whose version is READY."""
        await self.jobs.change(lease.name, rules.succeed(lease, version))

    async def fail(self, lease: Lease, error: JobError) -> None:
        """End a job that cannot succeed."""
        await self.jobs.change(lease.name, rules.fail(lease, error))

    async def crash(self, lease: Lease, error: JobError) -> None:
        """Let a job whose training was killed be tried again, or end it after too many such deaths."""
        await self.jobs.change(lease.name, rules.crash(lease, error, self.max_losses))

    async def confirm_pause(self, lease: Lease) -> None:
        """Let go of a job whose training has stopped with a checkpoint, to go on later."""
        await self.jobs.change(lease.name, rules.confirm_pause(lease))

    async def confirm_cancellation(self, lease: Lease) -> None:
        """End a job whose training has stopped on request."""
        await self.jobs.change(lease.name, rules.confirm_cancellation(lease))

    async def give_back(self, lease: Lease) -> None:
        """Let another worker have the job at once."""
        await self.jobs.change(lease.name, rules.give_back(lease))


async def keep_recovering(queue: JobQueue, interval_seconds: float) -> None:
    """Recover jobs of lost workers again and again, for ever; a database that is down is waited for."""
    while True:
        try:
            await queue.recover()
        except DomainError as error:
            log.warning("cannot look after leases", reason=error.reason)
        await asyncio.sleep(interval_seconds)
