"""Fine-tuning jobs."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, RootModel

from gateway.schemas.common import MAX_INT32, MAX_INT64, Accepted, Answered, Cursor, Only, Query
from gateway.schemas.errors import ErrorAnswer, ErrorCode
from gateway.schemas.training import TrainingPlan
from services.common.errors import DomainError, Reason, Violation


def _without_auto(value: Any) -> Any:
    return None if value == "auto" else value


_AUTO: Final = Literal["auto"]
Count = Annotated[
    int | None,
    Field(ge=-MAX_INT32, le=MAX_INT32),
    BeforeValidator(_without_auto, json_schema_input_type=_AUTO | int | None),
]
"""A number, or "auto", which is the same as none."""
Number = Annotated[float | None, BeforeValidator(_without_auto, json_schema_input_type=_AUTO | float | None)]
Switch = Annotated[bool | None, BeforeValidator(_without_auto, json_schema_input_type=_AUTO | bool | None)]
Names = Annotated[list[str] | None, BeforeValidator(_without_auto, json_schema_input_type=_AUTO | list[str] | None)]
ScheduleName = Annotated[
    Literal["linear", "cosine", "constant"] | None,
    BeforeValidator(_without_auto, json_schema_input_type=Literal["auto", "linear", "cosine", "constant"] | None),
]
Ranks = dict[str, Annotated[int, Field(ge=-MAX_INT32, le=MAX_INT32)]]
RankPattern = Annotated[Ranks | None, BeforeValidator(_without_auto, json_schema_input_type=_AUTO | Ranks | None)]
AlphaPattern = Annotated[
    dict[str, float] | None, BeforeValidator(_without_auto, json_schema_input_type=_AUTO | dict[str, float] | None)
]


class Hyperparameters(Accepted):
    """How to train; whatever is left out or "auto" is chosen by the trainer."""

    n_epochs: Count = Field(None, description="How often every row is learnt from.")
    batch_size: Count = Field(None, description="Rows in an optimizer step.")
    learning_rate_multiplier: Annotated[Any, Only(("auto",), "learning_rate is the rate itself")] = None
    learning_rate: Number = Field(None, description="Highest learning rate.")
    warmup_ratio: Number = Field(None, description="Share of the steps that warm up.")
    schedule: ScheduleName = Field(None, description="How the learning rate falls.")
    lora_rank: Count = Field(None, description="Rank of the update.")
    lora_alpha: Number = Field(None, description="The update is scaled by alpha / rank.")
    target_modules: Names = Field(
        None,
        max_length=256,
        description="Ends of linear layers' names, `*` for any characters of a part: `layers.0.*.q_proj`.",
    )
    max_sequence_length: Count = Field(None, description="Tokens that rows are cut to.")
    weight_decay: Number = Field(None, description="Of AdamW.")
    max_gradient_norm: Number = Field(None, description="A longer gradient is scaled down to it.")
    early_stopping_patience: Count = Field(
        None,
        description="Measurements of held-out loss without a better one; 0 does not stop.",
    )
    use_rslora: Switch = Field(None, description="Scale by alpha / √rank.")
    use_dora: Switch = Field(None, description="Learn lengths apart from directions.")
    rank_pattern: RankPattern = Field(
        None, max_length=64, description="Other ranks than lora_rank, by pattern of names; the most specific counts."
    )
    alpha_pattern: AlphaPattern = Field(None, max_length=64, description="Other alphas than lora_alpha, likewise.")
    modules_to_save: Names = Field(
        None,
        max_length=64,
        description="Linear layers, lm_head and embed_tokens to train as a whole, by pattern of names.",
    )


class Supervised(Accepted):
    """Settings of supervised training."""

    hyperparameters: Hyperparameters = Field(Hyperparameters(), description="How to train.")


class Method(Accepted):
    """How to learn from the file."""

    type: Literal["supervised"]
    supervised: Supervised = Field(Supervised(), description="Its settings.")
    dpo: Annotated[Any, Only()] = None
    reinforcement: Annotated[Any, Only()] = None


class CreateJob(Accepted):
    """A job to queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "qwen2-small",
                    "training_file": "data-0f1e2d3c4b5a6978",
                    "adapter": "wukong",
                    "method": {
                        "type": "supervised",
                        "supervised": {"hyperparameters": {"n_epochs": 20, "lora_rank": 16}},
                    },
                }
            ]
        }
    )

    model: str = Field(max_length=256, description="The base to train on, by its id.")
    training_file: str = Field(max_length=256, description="Id of the file to learn from.")
    validation_file: str | None = Field(
        None, max_length=256, description="Id of a file that is measured on and not learnt."
    )
    validation_fraction: float | None = Field(
        None,
        description="Share of the file's different rows that is measured on and not learnt, 0 to 0.5; not beside "
        "validation_file. Left out, a tenth of 50 rows or more.",
    )
    adapter: str | None = Field(None, max_length=256, description="The adapter that gets the new version, by its id.")
    suffix: str | None = Field(None, min_length=1, max_length=64, description="Names the adapter {model}-{suffix}.")
    seed: int | None = Field(
        None, ge=0, le=MAX_INT64, description="Of everything that is drawn; left out, it is drawn."
    )
    metadata: dict[str, str] | None = Field(None, description="Up to 16 pairs of your own; jobs are listed by them.")
    priority: int = Field(
        0,
        ge=-MAX_INT32,
        le=MAX_INT32,
        description="Of jobs that wait, those with a higher one come first; -1000 to 1000.",
    )
    method: Method | None = Field(None, description="How to learn; left out, everything is chosen by the trainer.")
    hyperparameters: Hyperparameters | None = Field(None, description="OpenAI's older place for them.")
    integrations: Annotated[Any, Only(([],))] = None
    force: bool = Field(
        False, description="Train though the plan is hopeless; kept, and told in the adapter's manifest."
    )


class JobError(Answered):
    """Why a job failed."""

    code: ErrorCode
    message: str = Field(description="The same for people.")
    param: str | None = None


class JobProgress(Answered):
    """How far a job is."""

    step: int
    total_steps: int = Field(description="0 while unknown.")
    loss: float
    trained_tokens: int


class JobExtension(Answered):
    """What is ours about a job."""

    state: str = Field(description="queued, running, pausing, paused, cancelling, succeeded, failed or cancelled.")
    adapter: str
    base_fingerprint_id: str
    progress: JobProgress
    attempt: int
    priority: int
    start_time: str | None
    validation_fraction: float | None = Field(None, description="As asked for.")
    force: bool = Field(description="Whether it is trained though the plan is hopeless.")
    plan: TrainingPlan | None = Field(description="What it was reckoned to be; null before a worker has.")


class Job(Answered):
    """A job. ``status`` is ``running`` until a cancellation or a pause is confirmed; ``tenon.state`` says more."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
    training_file: str
    validation_file: str | None
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    result_files: tuple[str, ...] = ()
    integrations: tuple[Any, ...] = ()
    seed: int
    trained_tokens: int | None
    metadata: dict[str, str]
    error: JobError | None
    tenon: JobExtension


class JobEvent(Answered):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class WatchedEvent(Answered):
    """An event as a watch sends it."""

    sequence: int = Field(description="Its place among the job's events; `after` of a watch that goes on.")
    time: str | None
    type: Literal["metrics", "message", "checkpoint", "finding", "state"]
    data: dict[str, Any] = Field(description="What there is to tell; its keys depend on the type.")


class JobUpdate(Answered):
    """The first event of a watch: the job as it is."""

    job: Job


class EventUpdate(Answered):
    """Every other event of a watch."""

    event: WatchedEvent


class WatchUpdate(RootModel[JobUpdate | EventUpdate | ErrorAnswer]):
    """Server-sent events: the job, then what happens to it; an error is the last one."""


class CheckpointMetrics(Answered):
    """Figures of a checkpoint's last step, as OpenAI names them."""

    step: int
    train_loss: float
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class CheckpointExtension(Answered):
    """What is ours about a checkpoint."""

    size_bytes: int
    stored: bool = Field(
        description="Whether it can still be gone on from; its bytes are discarded once nobody needs them."
    )
    metrics: dict[str, Any] = Field(description="Every figure of its last step.")


class Checkpoint(Answered):
    """A state of a job to go on from. It is not a model: it holds no adapter that was examined, and is not served."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str | None = None
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics
    tenon: CheckpointExtension


_LABEL: Final = re.compile(r"metadata\[([^\[\]]{1,64})\]")


class JobCursor(Cursor):
    """Which jobs to list. OpenAI's clients write the keys of metadata into names of parameters: ``metadata[team]=apes``."""

    model_config = ConfigDict(extra="allow")

    metadata: Literal["null"] | None = Field(
        None, description="metadata[key]=value: only jobs that have it. null: only jobs that have no metadata."
    )

    def labels(self) -> dict[str, str]:
        """The metadata that jobs must have.

        Raises:
            DomainError: INVALID_ARGUMENT for any other parameter that is not known.
        """
        found = {}
        for name, value in (self.model_extra or {}).items():
            label = _LABEL.fullmatch(name)
            if label is None or not isinstance(value, str):
                text = "unknown parameter" if label is None else "is given twice"
                raise DomainError(Reason.INVALID_ARGUMENT, f"{name}: {text}.", violations=[Violation(name, text)])
            found[label[1]] = value
        if found and self.metadata:
            text = "cannot be null and have values at the same time"
            raise DomainError(Reason.INVALID_ARGUMENT, f"metadata: {text}.", violations=[Violation("metadata", text)])
        return found


class EventCursor(Cursor):
    """Which events to list, newest first."""


class WatchQuery(Query):
    """Where to go on."""

    after: int = Field(0, ge=0, le=MAX_INT64, description="Send only events after this sequence number.")
