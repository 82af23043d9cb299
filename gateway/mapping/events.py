"""Events of training jobs: as OpenAI lists them, and as Tenon's own watch sends them."""

from types import MappingProxyType
from typing import Any, Final, Literal

from gateway.mapping.jobs import state_name
from gateway.mapping.times import rfc3339, unix
from gateway.mapping.training import finding_object
from gateway.names import last_part
from gateway.schemas.fine_tuning import Checkpoint, CheckpointExtension, CheckpointMetrics, JobEvent, WatchedEvent
from services.common.errors import from_status
from tenon.trainer.v1 import training_job_pb2

Level = Literal["info", "warn", "error"]
Kind = Literal["metrics", "message", "checkpoint", "finding", "state"]
Message = training_job_pb2.TrainingJobEvent.Message

_LEVELS: Final[MappingProxyType[int, Level]] = MappingProxyType(
    {Message.LEVEL_INFO: "info", Message.LEVEL_WARNING: "warn", Message.LEVEL_ERROR: "error"}
)
_SEVERITIES: Final[MappingProxyType[int, Level]] = MappingProxyType(
    {
        training_job_pb2.TrainingFinding.SEVERITY_INFO: "info",
        training_job_pb2.TrainingFinding.SEVERITY_WARNING: "warn",
        training_job_pb2.TrainingFinding.SEVERITY_HOPELESS: "error",
    }
)
_FIGURES: Final = (
    "step", "total_steps", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "epoch", "trained_tokens",
    "memory_bytes",
)  # fmt: skip


def event_id(job_id: str, sequence: int) -> str:
    """The id of an event."""
    return f"ftevent-{job_id.removeprefix('ftjob-')}-{sequence}"


def watch_event(event: training_job_pb2.TrainingJobEvent) -> dict[str, Any]:
    """Write an event as the watch sends it."""
    kind, data = _content(event)
    return WatchedEvent(sequence=event.sequence, time=rfc3339(event, "time"), type=kind, data=data).model_dump()


def event_object(job_id: str, event: training_job_pb2.TrainingJobEvent) -> JobEvent:
    """Write an event as OpenAI lists it."""
    kind, data = _content(event)
    return JobEvent(
        id=event_id(job_id, event.sequence),
        created_at=unix(event.time),
        level=_level(event),
        message=_sentence(kind, data),
        type="metrics" if kind == "metrics" else "message",
        data=data,
    )


def _content(event: training_job_pb2.TrainingJobEvent) -> tuple[Kind, dict[str, Any]]:
    match event.WhichOneof("event"):
        case "metrics":
            return "metrics", _figures(event.metrics)
        case "message":
            return "message", {"level": _level(event), "text": event.message.text}
        case "checkpoint":
            return "checkpoint", {"step": event.checkpoint.step, "size_bytes": event.checkpoint.size_bytes}
        case "finding":
            return "finding", finding_object(event.finding).model_dump()
        case _:
            return "state", _state(event.state_change)


def checkpoint_object(job_id: str, checkpoint: training_job_pb2.TrainingJobCheckpoint) -> Checkpoint:
    """Write a checkpoint as OpenAI lists it."""
    metrics = checkpoint.metrics
    return Checkpoint(
        id=checkpoint_id(job_id, checkpoint),
        created_at=unix(checkpoint.create_time),
        fine_tuning_job_id=job_id,
        step_number=checkpoint.step,
        metrics=CheckpointMetrics(
            step=checkpoint.step,
            train_loss=metrics.loss,
            valid_loss=metrics.validation_loss if metrics.HasField("validation_loss") else None,
        ),
        tenon=CheckpointExtension(
            size_bytes=checkpoint.size_bytes, stored=checkpoint.stored, metrics=_figures(checkpoint.metrics)
        ),
    )


def checkpoint_id(job_id: str, checkpoint: training_job_pb2.TrainingJobCheckpoint) -> str:
    """The id of a checkpoint."""
    return f"ftckpt-{job_id.removeprefix('ftjob-')}-{last_part(checkpoint.name)}"


def _figures(metrics: training_job_pb2.TrainingJobEvent.StepMetrics) -> dict[str, Any]:
    figures = {name: getattr(metrics, name) for name in _FIGURES}
    measured = metrics.HasField("validation_loss")
    return {**figures, "validation_loss": metrics.validation_loss if measured else None}


def _state(change: training_job_pb2.TrainingJobEvent.StateChange) -> dict[str, Any]:
    data: dict[str, Any] = {"state": state_name(change.state)}
    if change.HasField("error"):
        error = from_status(change.error)
        data["error"] = {"code": error.reason.lower() if error else "internal", "message": change.error.message}
    return data


def _level(event: training_job_pb2.TrainingJobEvent) -> Level:
    if event.WhichOneof("event") == "message":
        return _LEVELS.get(event.message.level, "info")
    if event.WhichOneof("event") == "finding":
        return _SEVERITIES.get(event.finding.severity, "info")
    return "error" if event.state_change.HasField("error") else "info"


def _sentence(kind: str, data: dict[str, Any]) -> str:
    if kind == "metrics":
        return f"Step {data['step']} of {data['total_steps']}: loss {data['loss']:.4f}"
    if kind == "message":
        return str(data["text"])
    if kind == "checkpoint":
        return f"A checkpoint is kept after step {data['step']}"
    if kind == "finding":
        return f"{data['text']} {data['remedy']}".rstrip()
    told = f": {data['error']['message']}" if "error" in data else ""
    return f"The job is {data['state']}{told}"
