"""What the worker and the recipe say to each other: a task file one way, one JSON line per event the other.

Both sides decode strictly: an unknown field, a missing one or one of another type is an error, because two versions of
Tenon that disagree must not train.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    with_config,
)

from services.common.errors import DomainError, Reason
from services.common.probe import Probe
from services.common.rows.model import DatasetFormat
from services.common.training_report import TrainingReport

STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Schedule(enum.StrEnum):
    """How the learning rate falls after warm-up; ``Hyperparameters.Schedule`` in lower case."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Level(enum.StrEnum):
    """How serious a note is; ``TrainingJobEvent.Message.Level`` in lower case."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeHyperparameters:
    """How to train, as asked for. None, and no target modules, leave the choice to the recipe.

    The fields are those of ``tenon.trainer.v1.Hyperparameters``.
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup_ratio: float | None = None
    schedule: Schedule | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] = ()
    max_sequence_length: int | None = None
    seed: int | None = None
    weight_decay: float | None = None
    max_gradient_norm: float | None = None
    early_stopping_patience: int | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedHyperparameters:
    """How the run trains, every choice made. Same names as ``RecipeHyperparameters``."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    schedule: Schedule
    lora_rank: int
    lora_alpha: float
    target_modules: tuple[str, ...]
    max_sequence_length: int
    seed: int
    weight_decay: float
    max_gradient_norm: float = 1.0
    early_stopping_patience: int = 0
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointTask:
    """How a run keeps what it has, and what it goes on from.

    Attributes:
        directory: where checkpoints go; it exists. Each is ``checkpoint_file``.
        pause_file: once it is there, the run writes a checkpoint after the step at hand and ends with Paused.
        writer: who writes them, so that no two writers' files are the same bytes.
        every_steps: how many steps apart, or None.
        every_seconds: how many seconds apart, or None.
        resume_from: files of an earlier attempt, the best first.
    """

    directory: Path
    pause_file: Path
    writer: str
    every_steps: int | None = None
    every_seconds: float | None = None
    resume_from: tuple[Path, ...] = ()


def checkpoint_file(directory: Path, step: int) -> Path:
    """The file of the checkpoint after a step."""
    return directory / f"step-{step}.safetensors"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeTask:
    """One run.

    Attributes:
        base_model: the base's resource name or id, as the adapter will name it; never a path.
        base_directory: where the base's files are.
        base_fingerprint_id: the id these files must have.
        dataset_path: the rows to learn.
        dataset_format: their format.
        validation_path: rows to measure on, or None.
        validation_format: their format, or None.
        validation_fraction: share of the different rows that is measured on instead of learnt, 0 to 0.5; None leaves the
            choice to the recipe. None beside a validation_path.
        output_directory: where the adapter goes; made by the recipe, must not exist or be empty.
        hyperparameters: as asked for.
        cache_dir: where content digests of bases are remembered, or None.
        threads: CPU threads to use, or None to let the recipe choose: one for a very small base, else all.
        checkpoints: how the run keeps what it has, or None for a run that keeps nothing.
        force: train though the plan is hopeless.
        plan_only: reckon the plan from headers and rows, load no weights, train nothing.
    """

    base_model: str
    base_directory: Path
    base_fingerprint_id: str
    dataset_path: Path
    dataset_format: DatasetFormat
    validation_path: Path | None = None
    validation_format: DatasetFormat | None = None
    validation_fraction: float | None = None
    output_directory: Path
    hyperparameters: RecipeHyperparameters = field(default_factory=RecipeHyperparameters)
    cache_dir: Path | None = None
    threads: int | None = None
    checkpoints: CheckpointTask | None = None
    force: bool = False
    plan_only: bool = False


class Severity(enum.StrEnum):
    """How serious a finding is; ``TrainingFinding.Severity`` in lower case."""

    INFO = "info"
    WARNING = "warning"
    HOPELESS = "hopeless"
    """Training cannot teach anything, or cannot run at all."""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a look at the plan has shown.

    Attributes:
        severity: how serious it is.
        code: its kind, for programs: ``TOO_FEW_STEPS``. Stable.
        text: what is so, as a sentence.
        remedy: what would be better, in numbers where there are numbers; empty where nothing has to be done.
    """

    severity: Severity
    code: str
    text: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """Text and remedy."""
        return f"{self.text} {self.remedy}".rstrip()


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a training will be, reckoned before it starts.

    Attributes:
        hyperparameters: every choice made.
        steps: optimizer steps.
        rows: rows that will be learnt.
        validation_rows: rows that will be measured on.
        tokens: in one pass over the rows, padding not counted.
        supervised_tokens: of these, those that are learnt.
        base_parameters: of the base.
        lora_parameters: of the adapter.
        saved_parameters: of modules that are trained as a whole.
        memory: bytes at the peak, by what they are for; their sum is the estimate.
        memory_available: bytes that this machine could give; 0 where it does not tell.
        seconds: how long the steps will take, roughly.
        seconds_basis: how that was reckoned, as a sentence.
        compute: device, dtype and threads it was reckoned for.
        findings: the most serious first.
    """

    hyperparameters: ResolvedHyperparameters
    steps: int
    rows: int
    validation_rows: int
    tokens: int
    supervised_tokens: int
    base_parameters: int
    lora_parameters: int
    saved_parameters: int = 0
    memory: Mapping[str, int]
    memory_available: int
    seconds: float
    seconds_basis: str
    compute: Mapping[str, JsonValue]
    findings: tuple[Finding, ...]

    @property
    def memory_bytes(self) -> int:
        """The peak."""
        return sum(self.memory.values())

    @property
    def hopeless(self) -> tuple[Finding, ...]:
        """The findings for which training is refused unless forced."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.HOPELESS)


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan, sent once before the base is trained; of a task with ``plan_only`` the last event."""

    plan: Plan
    event: Literal["planned"] = "planned"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding that leaves no plan: nothing is supervised, a module is not there. ``Failed`` follows."""

    finding: Finding
    event: Literal["found"] = "found"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The choices, sent once before the first step.

    Attributes:
        hyperparameters: every choice made.
        total_steps: optimizer steps to come.
        rows: rows that will be learnt.
        supervised_tokens: labels in one pass over them.
        compute: device, dtype and threads.
        resumed_step: steps that an earlier attempt has done, and that this one goes on after.
    """

    hyperparameters: ResolvedHyperparameters
    total_steps: int
    rows: int
    supervised_tokens: int
    compute: Mapping[str, JsonValue]
    resumed_step: int = 0
    event: Literal["started"] = "started"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Figures of one optimizer step; ``TrainingJobEvent.StepMetrics`` explains them."""

    step: int
    total_steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    epoch: float
    trained_tokens: int
    validation_loss: float | None = None
    memory_bytes: int = 0
    event: Literal["step"] = "step"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten:
    """A checkpoint lies in the task's directory; the Step of the same number came before.

    Attributes:
        step: steps that are done in it.
        size: bytes.
    """

    step: int
    size: int
    event: Literal["checkpoint"] = "checkpoint"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The last event of a run that was asked to pause."""

    event: Literal["paused"] = "paused"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something worth telling a person."""

    level: Level
    text: str
    event: Literal["note"] = "note"


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last event of a run that made nothing: a DomainError."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    event: Literal["failed"] = "failed"


def _read_probe(value: object) -> Probe:
    if isinstance(value, Probe):
        return value
    if not isinstance(value, Mapping):
        # pydantic makes an error of its own of a ValueError only.
        raise ValueError("it is not an object")  # noqa: TRY004
    return Probe.from_json(value)


def _read_report(value: object) -> TrainingReport:
    if isinstance(value, TrainingReport):
        return value
    return TrainingReport.from_json(value)


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a run whose adapter lies in the output directory.

    Attributes:
        steps: optimizer steps done.
        final_loss: loss of the last step.
        trained_tokens: supervised tokens seen.
        validation_loss: loss on the validation rows after the last step, or None without such rows.
        chat_template: the template rows were rendered with; None if none was used.
        stop_token_ids: tokens that end an answer.
        peft: peft_type, r, lora_alpha, target_modules, …, for the manifest.
        probe: what base and adapter answer to one prompt, for the manifest.
        report: what was learnt, for the manifest.
        base_summary: ``BaseFingerprint.summary()`` of the files trained on.
        library_versions: of torch, transformers, peft, safetensors, tokenizers.
        compute: device, dtype and threads.
    """

    steps: int
    final_loss: float
    trained_tokens: int
    validation_loss: float | None
    chat_template: str | None
    stop_token_ids: tuple[int, ...]
    peft: Mapping[str, JsonValue]
    probe: Annotated[Probe, PlainValidator(_read_probe), PlainSerializer(Probe.to_json)]
    report: Annotated[TrainingReport, PlainValidator(_read_report), PlainSerializer(TrainingReport.to_json)]
    base_summary: Mapping[str, JsonValue]
    library_versions: Mapping[str, str]
    compute: Mapping[str, JsonValue]
    event: Literal["finished"] = "finished"


Event = Planned | Found | Started | Step | CheckpointWritten | Note | Failed | Paused | Finished

_EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
_TASK: Final[TypeAdapter[RecipeTask]] = TypeAdapter(RecipeTask)
_PLAN: Final[TypeAdapter[Plan]] = TypeAdapter(Plan)


def encode(event: Event) -> str:
    """Write an event as one line of JSON, without the line's end."""
    return _EVENT.dump_json(event).decode()


def decode(line: str | bytes) -> Event:
    """Read what ``encode`` wrote.

    Raises:
        DomainError: INTERNAL; the line is no event of this version.
    """
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise DomainError(
            Reason.INTERNAL, f"The recipe wrote a line that is no event: {_first_fault(error)}."
        ) from error


def plan_to_json(plan: Plan) -> dict[str, JsonValue]:
    """Write a plan, to be kept."""
    document: dict[str, JsonValue] = _PLAN.dump_python(plan, mode="json")
    return document


def plan_from_json(document: JsonValue) -> Plan:
    """Read what ``plan_to_json`` gave."""
    return _PLAN.validate_json(json.dumps(document))


def encode_task(task: RecipeTask) -> str:
    """Write a task as the content of a task file."""
    return _TASK.dump_json(task, indent=2).decode() + "\n"


def decode_task(content: str | bytes) -> RecipeTask:
    """Read what ``encode_task`` wrote.

    Raises:
        DomainError: INVALID_ARGUMENT; it is no task of this version.
    """
    try:
        return _TASK.validate_json(content)
    except ValidationError as error:
        raise DomainError(Reason.INVALID_ARGUMENT, f"The task file is not one: {_first_fault(error)}.") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
