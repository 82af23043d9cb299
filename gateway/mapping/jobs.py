"""Training jobs as fine-tuning jobs."""

from types import MappingProxyType
from typing import Final, Literal

from google.rpc import status_pb2

from gateway.auth import current_project
from gateway.mapping.hyperparameters import hyperparameters
from gateway.mapping.times import rfc3339, unix
from gateway.mapping.training import plan_object
from gateway.names import last_part, public_version
from gateway.schemas.fine_tuning import Job, JobError, JobExtension, JobProgress
from services.common.errors import from_status
from tenon.trainer.v1 import training_job_pb2

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]

_STATUSES: Final[MappingProxyType[int, Status]] = MappingProxyType(
    {
        training_job_pb2.TrainingJob.STATE_QUEUED: "queued",
        training_job_pb2.TrainingJob.STATE_RUNNING: "running",
        # OpenAI has no word for it, and the job does run on until a worker stops it.
        training_job_pb2.TrainingJob.STATE_CANCELLING: "running",
        training_job_pb2.TrainingJob.STATE_PAUSING: "running",
        training_job_pb2.TrainingJob.STATE_PAUSED: "paused",
        training_job_pb2.TrainingJob.STATE_SUCCEEDED: "succeeded",
        training_job_pb2.TrainingJob.STATE_FAILED: "failed",
        training_job_pb2.TrainingJob.STATE_CANCELLED: "cancelled",
    }
)


def state_name(state: training_job_pb2.TrainingJob.State) -> str:
    """Tenon's own word for a state."""
    return training_job_pb2.TrainingJob.State.Name(state).removeprefix("STATE_").lower()


def job_object(job: training_job_pb2.TrainingJob) -> Job:
    """Write a job."""
    status = _STATUSES[job.state]
    parameters = hyperparameters(job.hyperparameters)
    openai = {key: parameters[key] for key in ("n_epochs", "batch_size", "learning_rate_multiplier")}
    return Job(
        id=last_part(job.name),
        created_at=unix(job.create_time),
        finished_at=unix(job.end_time) if job.HasField("end_time") else None,
        model=last_part(job.base_model),
        fine_tuned_model=public_version(job.adapter_version) or None,
        organization_id=current_project(),
        status=status,
        training_file=last_part(job.dataset),
        validation_file=last_part(job.validation_dataset) or None,
        hyperparameters=openai,
        method={"type": "supervised", "supervised": {"hyperparameters": parameters}},
        seed=job.hyperparameters.seed,
        trained_tokens=job.progress.trained_tokens if status == "succeeded" else None,
        metadata=dict(job.labels),
        error=_job_error(job.error) if job.HasField("error") else None,
        tenon=_extension(job),
    )


def _extension(job: training_job_pb2.TrainingJob) -> JobExtension:
    progress = job.progress
    return JobExtension(
        state=state_name(job.state),
        adapter=last_part(job.adapter),
        base_fingerprint_id=job.base_fingerprint_id,
        progress=JobProgress(
            step=progress.step,
            total_steps=progress.total_steps,
            loss=progress.loss,
            trained_tokens=progress.trained_tokens,
        ),
        attempt=job.attempt,
        priority=job.priority,
        start_time=rfc3339(job, "start_time"),
        validation_fraction=job.validation_fraction if job.HasField("validation_fraction") else None,
        force=job.force,
        plan=plan_object(job.plan) if job.HasField("plan") else None,
    )


def _job_error(status: status_pb2.Status) -> JobError:
    error = from_status(status)
    return JobError(code=error.reason.lower() if error else "internal", message=status.message)
