"""Rows of Postgres to and from what the trainer keeps."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from psycopg.types.json import Jsonb

from services.common.errors import Reason
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, DatasetName, TrainingJobName
from services.trainer.datasets import DatasetFormat, Statistics
from services.trainer.model import (
    CheckpointDraft,
    CheckpointKept,
    Dataset,
    EventBody,
    Hyperparameters,
    JobCheckpoint,
    JobError,
    JobEvent,
    JobMessage,
    JobState,
    Progress,
    StateChange,
    StepMetrics,
    TrainingJob,
)
from services.trainer.recipe.protocol import Finding, Level, Schedule, Severity, plan_from_json, plan_to_json

Row = Mapping[str, Any]


def dataset_from_row(row: Row) -> Dataset:
    """Read a row of ``trainer.datasets``."""
    return Dataset(
        name=DatasetName(row["project"], row["dataset"]),
        display_name=row["display_name"],
        format=DatasetFormat(row["format"]),
        size=row["size"],
        sha256=row["sha256"],
        statistics=Statistics(**row["statistics"]),
        create_time=row["create_time"],
        position=row["position"],
    )


def dataset_to_row(dataset: Dataset) -> dict[str, Any]:
    """Make the parameters of ``add_dataset``."""
    return {
        "project": dataset.name.project,
        "dataset": dataset.name.dataset,
        "display_name": dataset.display_name,
        "format": dataset.format.value,
        "size": dataset.size,
        "sha256": dataset.sha256,
        "statistics": Jsonb(asdict(dataset.statistics)),
    }


def job_from_row(row: Row) -> TrainingJob:
    """Read a row of ``trainer.jobs``."""
    project, version, validation = row["project"], row["adapter_version"], row["validation_dataset"]
    return TrainingJob(
        name=TrainingJobName(project, row["job"]),
        base_model=BaseModelName(row["base_model"]),
        base_fingerprint_id=row["base_fingerprint_id"],
        dataset=DatasetName(project, row["dataset"]),
        validation_dataset=DatasetName(project, validation) if validation else None,
        adapter=AdapterName(project, row["adapter"]),
        hyperparameters=_hyperparameters(row["hyperparameters"]),
        labels=row["labels"],
        validation_fraction=row["hyperparameters"].get(_FRACTION),
        force=row["force"],
        plan=plan_from_json(row["plan"]) if row["plan"] else None,
        state=JobState(row["state"]),
        progress=Progress(**row["progress"]),
        adapter_version=AdapterVersionName(project, row["adapter"], version) if version else None,
        error=_error(row["error"]),
        **{field: row[field] for field in _PLAIN},
    )


# How to train, too, and so kept in the same document; jobs created before there was such a choice have none.
_FRACTION = "validation_fraction"

_PLAIN = (
    "priority", "attempt", "losses", "epoch", "worker", "batch", "revision", "last_sequence", "position", "traceparent",
    "create_time", "start_time", "end_time",
)  # fmt: skip


def job_to_row(job: TrainingJob) -> dict[str, Any]:
    """Make the parameters of ``create_job`` and ``save_job``."""
    return {
        "project": job.name.project,
        "job": job.name.training_job,
        "base_model": job.base_model.base_model,
        "base_fingerprint_id": job.base_fingerprint_id,
        "dataset": job.dataset.dataset,
        "validation_dataset": job.validation_dataset.dataset if job.validation_dataset else None,
        "adapter": job.adapter.adapter,
        "hyperparameters": Jsonb(asdict(job.hyperparameters) | {_FRACTION: job.validation_fraction}),
        "labels": Jsonb(dict(job.labels)),
        "force": job.force,
        "plan": Jsonb(plan_to_json(job.plan)) if job.plan else None,
        "state": job.state.value,
        "final": job.state.final,
        "progress": Jsonb(asdict(job.progress)),
        "adapter_version": job.adapter_version.version if job.adapter_version else None,
        "error": Jsonb(asdict(job.error)) if job.error else None,
        **{field: getattr(job, field) for field in _PLAIN},
    }


def event_from_row(row: Row) -> JobEvent:
    """Read a row of ``trainer.job_events``."""
    return JobEvent(row["sequence"], row["time"], _body(row["kind"], row["body"]))


def event_to_row(body: EventBody) -> tuple[str, Jsonb]:
    """Make kind and body of an event's row."""
    match body:
        case StateChange():
            kind = "state_change"
        case StepMetrics():
            kind = "metrics"
        case JobMessage():
            kind = "message"
        case CheckpointKept():
            kind = "checkpoint"
        case Finding():
            kind = "finding"
    return kind, Jsonb(asdict(body))


def checkpoint_from_row(row: Row) -> JobCheckpoint:
    """Read a row of ``trainer.job_checkpoints``."""
    return JobCheckpoint(
        number=row["number"],
        step=row["step"],
        sha256=row["sha256"],
        size=row["size"],
        metrics=StepMetrics(**row["metrics"]),
        keep_time=row["keep_time"],
        stored=row["discard_time"] is None,
    )


def draft_to_row(job: TrainingJob, draft: CheckpointDraft) -> dict[str, Any]:
    """Make the parameters of ``announce_checkpoint``."""
    return {
        "position": job.position,
        "epoch": job.epoch,
        "step": draft.step,
        "sha256": draft.sha256,
        "size": draft.size,
        "metrics": Jsonb(asdict(draft.metrics)),
    }


def body_from_row(row: Row) -> EventBody:
    """Read kind and body of an event's row."""
    return _body(row["kind"], row["body"])


def _body(kind: str, body: Mapping[str, Any]) -> EventBody:
    match kind:
        case "state_change":
            return StateChange(JobState(body["state"]), _error(body["error"]))
        case "metrics":
            return StepMetrics(**body)
        case "checkpoint":
            return CheckpointKept(**body)
        case "finding":
            return Finding(**{**body, "severity": Severity(body["severity"])})
        case _:
            return JobMessage(Level(body["level"]), body["text"])


def _hyperparameters(values: Mapping[str, Any]) -> Hyperparameters:
    schedule = Schedule(values["schedule"]) if values["schedule"] else None
    chosen = {key: value for key, value in values.items() if key != _FRACTION}
    # JSON knows no tuples; rows of earlier versions lack the later fields.
    tuples = {key: tuple(values.get(key, ())) for key in ("target_modules", "modules_to_save")}
    return Hyperparameters(**{**chosen, **tuples, "schedule": schedule})


def _error(values: Mapping[str, Any] | None) -> JobError | None:
    return JobError(Reason(values["reason"]), values["message"], values["metadata"]) if values else None
