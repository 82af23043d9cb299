"""The rules of a job's life, as pure functions: the job as it is, and what becomes of it.

A store applies them to the locked row, so that what they read is still so when their result is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterVersionName
from services.trainer.model import (
    TRANSITIONS,
    Batch,
    EventBody,
    JobError,
    JobMessage,
    JobState,
    Lease,
    Progress,
    StateChange,
    TrainingJob,
)
from services.trainer.recipe.protocol import Level


@dataclass(frozen=True, slots=True)
class Change:
    """What a store writes, in one transaction.

    Attributes:
        job: the job as it shall be; times, position and last_sequence are the store's to set.
        events: what to append.
        lease_seconds: renew the lease by the store's clock; None leaves it.
        manifest: keep these bytes with the job; None leaves what is kept.
    """

    job: TrainingJob
    events: tuple[EventBody, ...] = ()
    lease_seconds: float | None = None
    manifest: bytes | None = None


Rule = Callable[[TrainingJob], Change | None]
"""None leaves the job as it is."""


def claim(worker: str, lease_seconds: float) -> Rule:
    """A worker takes a queued job."""

    def rule(job: TrainingJob) -> Change:
        change = _enter(job, JobState.RUNNING, worker=worker, attempt=job.attempt + 1, epoch=job.epoch + 1, batch=0)
        return replace(change, job=replace(change.job, progress=Progress()), lease_seconds=lease_seconds)

    return rule


def cancel(job: TrainingJob) -> Change | None:
    """Someone asks for the job to stop."""
    match job.state:
        case JobState.QUEUED:
            return _enter(job, JobState.CANCELLED)
        case JobState.RUNNING:
            return _enter(job, JobState.CANCELLING)
        case _:
            return None


def lose(max_losses: int) -> Rule:
    """The worker was not heard of for the length of its lease."""

    def rule(job: TrainingJob) -> Change:
        freed = replace(job, losses=job.losses + 1, epoch=job.epoch + 1, worker=None)
        if job.state is JobState.CANCELLING:
            return _enter(freed, JobState.CANCELLED)
        if freed.losses >= max_losses:
            error = JobError(
                Reason.TRAINING_CRASHED,
                f"The worker was lost during each of {freed.losses} attempts, the last one {job.worker}. "
                "Its machine may lack memory for this base; see the worker's log.",
                {"attempts": str(job.attempt)},
            )
            return _enter(freed, JobState.FAILED, StateChange(JobState.FAILED, error), error=error)
        text = f"The worker {job.worker} was lost; the job waits for another one and starts again from the beginning."
        change = _enter(freed, JobState.QUEUED)
        return replace(change, events=(JobMessage(Level.WARNING, text), *change.events))

    return rule


def heartbeat(lease: Lease, lease_seconds: float) -> Rule:
    """The worker is alive."""
    return _held(lease, lambda job: Change(job, lease_seconds=lease_seconds))


def append(lease: Lease, batch: Batch) -> Rule:
    """The worker tells what happened; a batch told twice counts once."""

    def rule(job: TrainingJob) -> Change | None:
        if batch.number <= job.batch:
            return None
        told = replace(
            job,
            batch=batch.number,
            progress=batch.progress or job.progress,
            hyperparameters=batch.hyperparameters or job.hyperparameters,
            plan=batch.plan or job.plan,
        )
        return Change(told, batch.events)

    return _held(lease, rule)


def keep_manifest(lease: Lease, manifest: bytes) -> Rule:
    """The worker is about to publish."""
    return _held(lease, lambda job: Change(job, manifest=manifest))


def succeed(lease: Lease, version: AdapterVersionName) -> Rule:
    """The version is READY in the registry."""
    return _end(lease, JobState.SUCCEEDED, adapter_version=version)


def fail(lease: Lease, error: JobError) -> Rule:
    """The job cannot succeed."""
    return _end(lease, JobState.FAILED, error=error)


def confirm_cancellation(lease: Lease) -> Rule:
    """The worker has stopped training."""
    return _end(lease, JobState.CANCELLED)


def give_back(lease: Lease) -> Rule:
    """The worker ends and another one shall take the job."""

    def rule(job: TrainingJob) -> Change:
        freed = replace(job, epoch=job.epoch + 1, worker=None)
        if job.state is JobState.CANCELLING:
            return _enter(freed, JobState.CANCELLED)
        text = f"The worker {job.worker} is shutting down; the job waits for another one and starts again."
        change = _enter(freed, JobState.QUEUED)
        return replace(change, events=(JobMessage(Level.INFO, text), *change.events))

    return _held(lease, rule)


def _end(lease: Lease, state: JobState, **fields: Any) -> Rule:
    def rule(job: TrainingJob) -> Change | None:
        if job.epoch == lease.epoch and job.state is state:
            # The answer to the first try was lost on its way.
            return None
        _require_held(job, lease)
        event = StateChange(state, fields.get("error"))
        return _enter(replace(job, worker=None), state, event, **fields)

    return rule


def _held(lease: Lease, rule: Rule) -> Rule:
    def checked(job: TrainingJob) -> Change | None:
        _require_held(job, lease)
        return rule(job)

    return checked


def _require_held(job: TrainingJob, lease: Lease) -> None:
    if job.epoch != lease.epoch or job.state not in {JobState.RUNNING, JobState.CANCELLING}:
        raise DomainError(
            Reason.LEASE_LOST,
            f"The lease on {job.name} is over: the job is {job.state}, in epoch {job.epoch} and not {lease.epoch}.",
            {"training_job": str(job.name)},
        )


def _enter(job: TrainingJob, state: JobState, event: StateChange | None = None, **fields: Any) -> Change:
    if state not in TRANSITIONS[job.state]:
        raise DomainError(Reason.INTERNAL, f"{job.name} cannot go from {job.state} to {state}.")
    changed = replace(job, state=state, revision=job.revision + 1, **fields)
    return Change(changed, (event or StateChange(state),))
