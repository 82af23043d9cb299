"""Requests for training jobs."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.names import adapter_name, base_model_name, dataset_name, parent
from gateway.schemas.fine_tuning import CreateJob, Hyperparameters
from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import AdapterName
from tenon.trainer.v1 import training_job_pb2

_SCHEDULES: Final = MappingProxyType(
    {
        None: training_job_pb2.Hyperparameters.SCHEDULE_UNSPECIFIED,
        "linear": training_job_pb2.Hyperparameters.SCHEDULE_LINEAR,
        "cosine": training_job_pb2.Hyperparameters.SCHEDULE_COSINE,
        "constant": training_job_pb2.Hyperparameters.SCHEDULE_CONSTANT,
    }
)
_MAX_ID: Final = 63

# What the trainer calls a field, and what REST calls it.
_FIELDS: Final = (
    ("training_job.hyperparameters.epochs", "hyperparameters.n_epochs"),
    ("training_job.hyperparameters.seed", "seed"),
    ("training_job.base_model", "model"),
    ("training_job.validation_dataset", "validation_file"),
    ("training_job.validation_fraction", "validation_fraction"),
    # Within a sentence.
    ("validation_dataset", "validation_file"),
    ("training_job.dataset", "training_file"),
    ("training_job.labels", "metadata"),
    ("training_job.priority", "priority"),
    ("training_job.force", "force"),
    ("training_job.", ""),
)


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What a job gets by chance; the same request sent twice under one request id must get the same.

    Attributes:
        token: 24 hex digits.
        seed: of everything random in training.
    """

    token: str
    seed: int

    @classmethod
    def of(cls, request_id: str) -> "JobIdentity":
        """Derive it from a request id, or draw it."""
        digest = hashlib.sha256(request_id.encode()).digest() if request_id else secrets.token_bytes(32)
        return cls(digest[:12].hex(), int.from_bytes(digest[12:15], "big"))


def create_request(job: CreateJob, request_id: str) -> training_job_pb2.CreateTrainingJobRequest:
    """Read what is asked for.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    identity = JobIdentity.of(request_id)
    base = base_model_name(job.model)
    validation = str(dataset_name(job.validation_file, "validation_file")) if job.validation_file else ""
    parameters = _hyperparameters(_chosen(job))
    parameters.seed = identity.seed if job.seed is None else job.seed
    return training_job_pb2.CreateTrainingJobRequest(
        parent=parent(),
        training_job_id=f"ftjob-{identity.token}",
        request_id=request_id,
        training_job=training_job_pb2.TrainingJob(
            base_model=str(base),
            dataset=str(dataset_name(job.training_file, "training_file")),
            validation_dataset=validation,
            validation_fraction=job.validation_fraction,
            adapter=str(_adapter(job, base.base_model, identity)),
            hyperparameters=parameters,
            labels=job.metadata or {},
            priority=job.priority,
            force=job.force or _forced_by_metadata(job),
        ),
    )


def plan_request(job: CreateJob) -> training_job_pb2.PlanTrainingJobRequest:
    """Read what a plan is asked for: the same as for a job.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    asked = create_request(job, "")
    return training_job_pb2.PlanTrainingJobRequest(parent=asked.parent, training_job=asked.training_job)


FORCE_KEY: Final = "tenon.force"
"""In metadata, for clients that can send nothing else of their own: "true" is `force`."""


def _forced_by_metadata(job: CreateJob) -> bool:
    return (job.metadata or {}).get(FORCE_KEY) == "true"


def in_rest_terms(error: DomainError) -> DomainError:
    """The trainer's error about a job, with its fields as REST calls them."""
    message = error.message
    for ours, theirs in _FIELDS:
        message = message.replace(ours, theirs)
    violations = [Violation(_rest_field(v.field), v.description) for v in error.violations]
    return DomainError(error.reason, message, error.metadata, violations=violations, retry_after=error.retry_after)


def _rest_field(field: str) -> str:
    for ours, theirs in _FIELDS:
        field = field.replace(ours, theirs)
    return field


def _chosen(job: CreateJob) -> Hyperparameters:
    if job.hyperparameters is not None and job.method is not None:
        text = "is given beside method; use method.supervised.hyperparameters alone"
        raise DomainError(
            Reason.INVALID_ARGUMENT, f"hyperparameters: {text}.", violations=[Violation("hyperparameters", text)]
        )
    return job.method.supervised.hyperparameters if job.method else job.hyperparameters or Hyperparameters()


def _hyperparameters(chosen: Hyperparameters) -> training_job_pb2.Hyperparameters:
    return training_job_pb2.Hyperparameters(
        epochs=chosen.n_epochs,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        warmup_ratio=chosen.warmup_ratio,
        schedule=_SCHEDULES[chosen.schedule],
        lora_rank=chosen.lora_rank,
        lora_alpha=chosen.lora_alpha,
        target_modules=chosen.target_modules or (),
        max_sequence_length=chosen.max_sequence_length,
        weight_decay=chosen.weight_decay,
        max_gradient_norm=chosen.max_gradient_norm,
        early_stopping_patience=chosen.early_stopping_patience,
        use_rslora=chosen.use_rslora,
        use_dora=chosen.use_dora,
        rank_pattern=chosen.rank_pattern or {},
        alpha_pattern=chosen.alpha_pattern or {},
        modules_to_save=chosen.modules_to_save or (),
    )


def _adapter(job: CreateJob, base: str, identity: JobIdentity) -> AdapterName:
    if job.adapter is not None:
        return adapter_name(job.adapter)
    if job.suffix is None:
        return adapter_name(f"{base[: _MAX_ID - 9]}-{identity.token[:8]}")
    # OpenAI takes any text as a suffix; an id takes less.
    suffix = re.sub(r"[^a-z0-9._-]+", "-", job.suffix.lower()).strip("-._")
    return adapter_name(f"{base}-{suffix}"[:_MAX_ID].rstrip("-._"), "suffix")
