"""Messages of ``tenon.trainer.v1`` to and from what the trainer works with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from services.common.auth.guard import EVERY_PROJECT
from services.common.errors import DomainError, Reason, Violation, to_status
from services.common.resource_names import BaseModelName, ProjectName, TrainingJobName
from services.trainer.catalog.dataset_catalog import UploadSpec
from services.trainer.datasets import DatasetFormat, Fault, Statistics
from services.trainer.jobs.admission import JobDraft
from services.trainer.jobs.planner import Reckoned
from services.trainer.jobs.watch import Heartbeat, Update
from services.trainer.model import (
    CheckpointKept,
    Dataset,
    Hyperparameters,
    JobCheckpoint,
    JobError,
    JobEvent,
    JobFilter,
    JobMessage,
    JobState,
    StateChange,
    StepMetrics,
    TrainingJob,
)
from services.trainer.recipe.protocol import Finding, Level, Plan, ResolvedHyperparameters, Schedule
from services.trainer.servicers.convert_plan import finding_to_proto, plan_to_proto
from tenon.trainer.v1 import dataset_pb2, training_job_pb2

_FORMATS: Final[Mapping[DatasetFormat, dataset_pb2.DatasetFormat]] = MappingProxyType(
    {
        DatasetFormat.ALPACA: dataset_pb2.DATASET_FORMAT_ALPACA,
        DatasetFormat.SHAREGPT: dataset_pb2.DATASET_FORMAT_SHAREGPT,
        DatasetFormat.OPENAI_CHAT: dataset_pb2.DATASET_FORMAT_OPENAI_CHAT,
        DatasetFormat.PROMPT_COMPLETION: dataset_pb2.DATASET_FORMAT_PROMPT_COMPLETION,
    }
)
_STATES: Final[Mapping[JobState, training_job_pb2.TrainingJob.State]] = MappingProxyType(
    {
        JobState.QUEUED: training_job_pb2.TrainingJob.STATE_QUEUED,
        JobState.RUNNING: training_job_pb2.TrainingJob.STATE_RUNNING,
        JobState.CANCELLING: training_job_pb2.TrainingJob.STATE_CANCELLING,
        JobState.SUCCEEDED: training_job_pb2.TrainingJob.STATE_SUCCEEDED,
        JobState.FAILED: training_job_pb2.TrainingJob.STATE_FAILED,
        JobState.CANCELLED: training_job_pb2.TrainingJob.STATE_CANCELLED,
        JobState.PAUSING: training_job_pb2.TrainingJob.STATE_PAUSING,
        JobState.PAUSED: training_job_pb2.TrainingJob.STATE_PAUSED,
    }
)
_SCHEDULES: Final[Mapping[Schedule, training_job_pb2.Hyperparameters.Schedule]] = MappingProxyType(
    {
        Schedule.LINEAR: training_job_pb2.Hyperparameters.SCHEDULE_LINEAR,
        Schedule.COSINE: training_job_pb2.Hyperparameters.SCHEDULE_COSINE,
        Schedule.CONSTANT: training_job_pb2.Hyperparameters.SCHEDULE_CONSTANT,
    }
)
_LEVELS: Final[Mapping[Level, training_job_pb2.TrainingJobEvent.Message.Level]] = MappingProxyType(
    {
        Level.INFO: training_job_pb2.TrainingJobEvent.Message.LEVEL_INFO,
        Level.WARNING: training_job_pb2.TrainingJobEvent.Message.LEVEL_WARNING,
        Level.ERROR: training_job_pb2.TrainingJobEvent.Message.LEVEL_ERROR,
    }
)

_STATES_BY_PROTO: Final = MappingProxyType({proto: state for state, proto in _STATES.items()})

_CHOICES: Final = (
    "epochs", "batch_size", "learning_rate", "warmup_ratio", "lora_rank", "lora_alpha", "max_sequence_length", "seed",
    "weight_decay", "max_gradient_norm", "early_stopping_patience", "use_rslora", "use_dora",
)  # fmt: skip


def format_from_proto(value: dataset_pb2.DatasetFormat, field: str) -> DatasetFormat | None:
    """Read a format; None asks for its detection.

    Raises:
        DomainError: INVALID_ARGUMENT: no format of this version.
    """
    if value == dataset_pb2.DATASET_FORMAT_UNSPECIFIED:
        return None
    known = next((name for name, number in _FORMATS.items() if number == value), None)
    if known is None:
        raise _invalid(field, f"{value} is no format that this version knows")
    return known


def format_to_proto(value: DatasetFormat | None) -> dataset_pb2.DatasetFormat:
    """Write a format, or that there is none."""
    return dataset_pb2.DATASET_FORMAT_UNSPECIFIED if value is None else _FORMATS[value]


def upload_spec_from_proto(spec: dataset_pb2.DatasetUploadSpec) -> UploadSpec:
    """Read what is said of an upload.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    return UploadSpec(
        parent=ProjectName.parse(spec.parent, "spec.parent"),
        display_name=spec.display_name,
        format=format_from_proto(spec.format, "spec.format"),
    )


def dataset_to_proto(dataset: Dataset) -> dataset_pb2.Dataset:
    """Write a data set."""
    return dataset_pb2.Dataset(
        name=str(dataset.name),
        display_name=dataset.display_name,
        format=_FORMATS[dataset.format],
        size_bytes=dataset.size,
        sha256=dataset.sha256,
        statistics=statistics_to_proto(dataset.statistics),
        create_time=_timestamp(dataset.create_time),
    )


def statistics_to_proto(
    statistics: Statistics, tokens: dataset_pb2.TokenStatistics | None = None
) -> dataset_pb2.DatasetStatistics:
    """Write what a check counted, and what a base made of the rows."""
    return dataset_pb2.DatasetStatistics(
        row_count=statistics.row_count,
        faulty_row_count=statistics.faulty_row_count,
        duplicate_row_count=statistics.duplicate_row_count,
        answer_count=statistics.answer_count,
        answer_characters=statistics.answer_characters,
        synthetic_row_count=statistics.synthetic_row_count,
        tokens=tokens,
    )


def faults_to_proto(faults: Sequence[Fault]) -> list[dataset_pb2.DatasetFault]:
    """Write faults."""
    return [dataset_pb2.DatasetFault(line=f.line, row=f.row, field=f.field, reason=f.reason) for f in faults]


def filter_from_proto(request: training_job_pb2.ListTrainingJobsRequest) -> JobFilter:
    """Read which jobs are asked for.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    everywhere = request.parent == f"projects/{EVERY_PROJECT}"
    unknown = set(request.states) - _STATES_BY_PROTO.keys()
    if unknown:
        text = f"states names {min(unknown)}, which is no state of a job."
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("states", text)])
    return JobFilter(
        project=None if everywhere else ProjectName.parse(request.parent, "parent").project,
        base_model=BaseModelName.parse(request.base_model, "base_model") if request.base_model else None,
        states=tuple(sorted({_STATES_BY_PROTO[state] for state in request.states})),
    )


def draft_from_proto(
    request: training_job_pb2.CreateTrainingJobRequest | training_job_pb2.PlanTrainingJobRequest,
) -> JobDraft:
    """Read what is asked for.

    Raises:
        DomainError: INVALID_ARGUMENT: no schedule of this version.
    """
    job = request.training_job
    return JobDraft(
        parent=request.parent,
        training_job_id=getattr(request, "training_job_id", ""),
        base_model=job.base_model,
        dataset=job.dataset,
        validation_dataset=job.validation_dataset,
        adapter=job.adapter,
        hyperparameters=_hyperparameters_from_proto(job.hyperparameters),
        labels=dict(job.labels),
        validation_fraction=job.validation_fraction if job.HasField("validation_fraction") else None,
        priority=job.priority,
        force=job.force,
    )


def job_to_proto(job: TrainingJob) -> training_job_pb2.TrainingJob:
    """Write a job."""
    progress = job.progress
    return training_job_pb2.TrainingJob(
        name=str(job.name),
        base_model=str(job.base_model),
        dataset=str(job.dataset),
        validation_dataset=str(job.validation_dataset) if job.validation_dataset else "",
        adapter=str(job.adapter),
        hyperparameters=_hyperparameters_to_proto(job.hyperparameters),
        labels=job.labels,
        validation_fraction=job.validation_fraction,
        force=job.force,
        plan=_plan(job.plan) if job.plan else None,
        state=_STATES[job.state],
        base_fingerprint_id=job.base_fingerprint_id,
        progress=training_job_pb2.TrainingProgress(
            step=progress.step,
            total_steps=progress.total_steps,
            loss=progress.loss,
            trained_tokens=progress.trained_tokens,
        ),
        adapter_version=str(job.adapter_version) if job.adapter_version else "",
        error=_status(job.error),
        create_time=_timestamp(job.create_time),
        start_time=_timestamp(job.start_time),
        end_time=_timestamp(job.end_time),
        attempt=job.attempt,
        etag=f"{job.revision:x}",
        priority=job.priority,
    )


def event_to_proto(event: JobEvent) -> training_job_pb2.TrainingJobEvent:
    """Write an event."""
    message = training_job_pb2.TrainingJobEvent(sequence=event.sequence, time=_timestamp(event.time))
    body = event.body
    match body:
        case StateChange():
            message.state_change.state = _STATES[body.state]
            if body.error:
                message.state_change.error.CopyFrom(_status(body.error))
        case StepMetrics():
            message.metrics.CopyFrom(_metrics_to_proto(body))
        case JobMessage():
            message.message.level = _LEVELS[body.level]
            message.message.text = body.text
        case CheckpointKept():
            message.checkpoint.step = body.step
            message.checkpoint.size_bytes = body.size
        case Finding():
            message.finding.CopyFrom(finding_to_proto(body))
    return message


def checkpoint_to_proto(job: TrainingJobName, checkpoint: JobCheckpoint) -> training_job_pb2.TrainingJobCheckpoint:
    """Write a checkpoint."""
    return training_job_pb2.TrainingJobCheckpoint(
        name=f"{job}/checkpoints/{checkpoint.number}",
        step=checkpoint.step,
        create_time=_timestamp(checkpoint.keep_time),
        metrics=_metrics_to_proto(checkpoint.metrics),
        size_bytes=checkpoint.size,
        stored=checkpoint.stored,
    )


def reckoned_to_proto(reckoned: Reckoned) -> training_job_pb2.TrainingPlan:
    """Write what came of reckoning."""
    if reckoned.plan is not None:
        return _plan(reckoned.plan)
    return training_job_pb2.TrainingPlan(findings=map(finding_to_proto, reckoned.findings))


def _plan(plan: Plan) -> training_job_pb2.TrainingPlan:
    return plan_to_proto(plan, _hyperparameters_to_proto(plan.hyperparameters))


def update_to_proto(update: Update) -> training_job_pb2.WatchTrainingJobResponse:
    """Write what a watch saw."""
    response = training_job_pb2.WatchTrainingJobResponse
    match update:
        case TrainingJob():
            return response(training_job=job_to_proto(update))
        case JobEvent():
            return response(event=event_to_proto(update))
        case Heartbeat():
            return response(heartbeat=response.Heartbeat())


def _metrics_to_proto(metrics: StepMetrics) -> training_job_pb2.TrainingJobEvent.StepMetrics:
    return training_job_pb2.TrainingJobEvent.StepMetrics(
        step=metrics.step,
        total_steps=metrics.total_steps,
        loss=metrics.loss,
        learning_rate=metrics.learning_rate,
        gradient_norm=metrics.gradient_norm,
        tokens_per_second=metrics.tokens_per_second,
        epoch=metrics.epoch,
        trained_tokens=metrics.trained_tokens,
        validation_loss=metrics.validation_loss,
        memory_bytes=metrics.memory_bytes,
    )


def _hyperparameters_from_proto(message: training_job_pb2.Hyperparameters) -> Hyperparameters:
    unspecified = message.schedule == training_job_pb2.Hyperparameters.SCHEDULE_UNSPECIFIED
    schedule = next((name for name, number in _SCHEDULES.items() if number == message.schedule), None)
    if schedule is None and not unspecified:
        text = f"{message.schedule} is no schedule that this version knows"
        raise _invalid("training_job.hyperparameters.schedule", text)
    chosen = {field: getattr(message, field) for field in _CHOICES if message.HasField(field)}
    return Hyperparameters(
        schedule=schedule,
        target_modules=tuple(message.target_modules),
        rank_pattern=dict(message.rank_pattern),
        alpha_pattern=dict(message.alpha_pattern),
        modules_to_save=tuple(message.modules_to_save),
        **chosen,
    )


def _hyperparameters_to_proto(values: Hyperparameters | ResolvedHyperparameters) -> training_job_pb2.Hyperparameters:
    chosen = {field: getattr(values, field) for field in _CHOICES}
    schedule = training_job_pb2.Hyperparameters.SCHEDULE_UNSPECIFIED
    return training_job_pb2.Hyperparameters(
        schedule=_SCHEDULES[values.schedule] if values.schedule else schedule,
        target_modules=values.target_modules,
        rank_pattern=values.rank_pattern,
        alpha_pattern=values.alpha_pattern,
        modules_to_save=values.modules_to_save,
        **chosen,
    )


def _status(error: JobError | None) -> status_pb2.Status | None:
    return to_status(DomainError(error.reason, error.message, error.metadata)) if error else None


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _invalid(field: str, text: str) -> DomainError:
    return DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])
