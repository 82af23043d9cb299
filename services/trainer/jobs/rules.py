"""The rules of a job's life, as pure functions: the job as it is, and what becomes of it.

A store applies them to the locked row, so that what they read is still so when their result is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterVersionName
from services.trainer.model import (
    HELD,
    TRANSITIONS,
    Batch,
    CheckpointDraft,
    CheckpointKept,
    EventBody,
    JobError,
    JobMessage,
    JobState,
    Lease,
    StateChange,
    TrainingJob,
)
from services.trainer.recipe.protocol import Level


@dataclass(frozen=True, slots=True)
class Change:
    """What a store writes, in one transaction.

    Attributes:
        job: the job as it shall be; times, position and last_sequence are the store's to set.
        events: what to append; with a CheckpointKept its draft becomes a checkpoint.
        lease_seconds: renew the lease by the store's clock; None leaves it.
        manifest: keep these bytes with the job; None leaves what is kept.
        draft: a checkpoint about to be uploaded, to be known beforehand; one that is known already stays as it is.
    """

    job: TrainingJob
    events: tuple[EventBody, ...] = ()
    lease_seconds: float | None = None
    manifest: bytes | None = None
    draft: CheckpointDraft | None = None


_GOES_ON: Final = "The job goes on from its last checkpoint, or from the beginning where it has none."

Rule = Callable[[TrainingJob], Change | None]
"""None leaves the job as it is."""


def claim(worker: str, lease_seconds: float) -> Rule:
    """A worker takes a queued job."""

    def rule(job: TrainingJob) -> Change:
        if job.state is not JobState.QUEUED:
            raise DomainError(Reason.INTERNAL, f"{job.name} cannot go from {job.state} to a worker.")
        # Its progress stays: what was told is not told again, though some of it may be computed again.
        change = _enter(job, JobState.RUNNING, worker=worker, attempt=job.attempt + 1, epoch=job.epoch + 1, batch=0)
        return replace(change, lease_seconds=lease_seconds)

    return rule


def cancel(job: TrainingJob) -> Change | None:
    """Someone asks for the job to stop."""
    match job.state:
        case JobState.QUEUED | JobState.PAUSED:
            return _enter(job, JobState.CANCELLED)
        case JobState.RUNNING | JobState.PAUSING:
            return _enter(job, JobState.CANCELLING)
        case _:
            return None


def pause(job: TrainingJob) -> Change | None:
    """Someone asks for the job to let go of its worker.

    Raises:
        DomainError: TRAINING_JOB_WRONG_STATE.
    """
    match job.state:
        case JobState.QUEUED:
            return _enter(job, JobState.PAUSED)
        case JobState.RUNNING:
            return _enter(job, JobState.PAUSING)
        case JobState.PAUSING | JobState.PAUSED:
            return None
        case _:
            raise _wrong_state(job, "paused")


def resume(job: TrainingJob) -> Change | None:
    """Someone asks for the job to go on.

    Raises:
        DomainError: TRAINING_JOB_WRONG_STATE.
    """
    match job.state:
        case JobState.PAUSED:
            return _enter(job, JobState.QUEUED)
        case JobState.PAUSING:
            return _enter(job, JobState.RUNNING)
        case JobState.QUEUED | JobState.RUNNING:
            return None
        case _:
            raise _wrong_state(job, "resumed")


def require_ended(job: TrainingJob) -> None:
    """Refuse to delete a job that somebody may work on.

    Raises:
        DomainError: TRAINING_JOB_WRONG_STATE.
    """
    if not job.state.final:
        text = f"{job.name} is {job.state} and cannot be deleted. Cancel it first, or wait for its end."
        raise DomainError(Reason.TRAINING_JOB_WRONG_STATE, text, _state_of(job))


def lose(max_losses: int) -> Rule:
    """The worker was not heard of for the length of its lease."""

    def rule(job: TrainingJob) -> Change:
        error = JobError(
            Reason.TRAINING_CRASHED,
            f"The worker was lost {job.losses + 1} times without a checkpoint in between, the last one {job.worker}. "
            "Its machine may lack memory for this base; see the worker's log.",
            {"attempts": str(job.attempt)},
        )
        return _lost(job, max_losses, error, f"The worker {job.worker} was lost. {_GOES_ON}")

    return rule


def crash(lease: Lease, error: JobError, max_losses: int) -> Rule:
    """The training process was killed, and may fare better another time."""
    text = f"The training process was ended by {error.metadata.get('signal', 'a signal')}. {_GOES_ON}"
    return _held(lease, lambda job: _lost(job, max_losses, error, text))


def _lost(job: TrainingJob, max_losses: int, error: JobError, text: str) -> Change:
    """Free a job whose attempt came to a sudden end; with too many of them in a row it fails."""
    freed = replace(job, losses=job.losses + 1, epoch=job.epoch + 1, worker=None)
    if job.state is JobState.CANCELLING:
        return _enter(freed, JobState.CANCELLED)
    if freed.losses >= max_losses:
        return _enter(freed, JobState.FAILED, StateChange(JobState.FAILED, error), error=error)
    return _said(JobMessage(Level.WARNING, text), _freed(freed))


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
            # It gets on, so what went wrong before is no reason to give it up.
            losses=0 if any(isinstance(event, CheckpointKept) for event in batch.events) else job.losses,
            plan=batch.plan or job.plan,
        )
        return Change(told, batch.events)

    return _held(lease, rule)


def announce_checkpoint(lease: Lease, draft: CheckpointDraft) -> Rule:
    """The worker is about to upload a checkpoint."""
    return _held(lease, lambda job: Change(job, draft=draft))


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
        change = _freed(replace(job, epoch=job.epoch + 1, worker=None))
        if change.job.state is not JobState.QUEUED:
            return change
        return _said(JobMessage(Level.INFO, f"The worker {job.worker} is shutting down. {_GOES_ON}"), change)

    return _held(lease, rule)


def confirm_pause(lease: Lease) -> Rule:
    """The worker has stopped training, and all that is needed to go on is kept; who resumed it meanwhile has it queued."""
    return _held(lease, lambda job: _freed(replace(job, epoch=job.epoch + 1, worker=None)))


def _freed(job: TrainingJob) -> Change:
    """What becomes of a job that its worker lets go of before its end."""
    match job.state:
        case JobState.CANCELLING:
            return _enter(job, JobState.CANCELLED)
        case JobState.PAUSING:
            return _enter(job, JobState.PAUSED)
        case _:
            return _enter(job, JobState.QUEUED)


def _said(message: JobMessage, change: Change) -> Change:
    return replace(change, events=(message, *change.events))


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
    if job.epoch != lease.epoch or job.state not in HELD:
        raise DomainError(
            Reason.LEASE_LOST,
            f"The lease on {job.name} is over: the job is {job.state}, in epoch {job.epoch} and not {lease.epoch}.",
            {"training_job": str(job.name)},
        )


def _wrong_state(job: TrainingJob, asked: str) -> DomainError:
    text = f"{job.name} is {job.state} and cannot be {asked}. Only a job that has not ended and is not being cancelled can."
    return DomainError(Reason.TRAINING_JOB_WRONG_STATE, text, _state_of(job))


def _state_of(job: TrainingJob) -> dict[str, str]:
    return {"training_job": str(job.name), "state": job.state.value}


def _enter(job: TrainingJob, state: JobState, event: StateChange | None = None, **fields: Any) -> Change:
    if state not in TRANSITIONS[job.state]:
        raise DomainError(Reason.INTERNAL, f"{job.name} cannot go from {job.state} to {state}.")
    changed = replace(job, state=state, revision=job.revision + 1, **fields)
    return Change(changed, (event or StateChange(state),))
