"""What a training job must be like before it is queued: every field checked, every fault named at once."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import (
    AdapterName,
    BaseModelName,
    DatasetName,
    ProjectName,
    ResourceName,
    TrainingJobName,
    check_slug,
)
from services.trainer.datasets.split import MOST_FRACTION
from services.trainer.model import Hyperparameters

MAX_LABELS: Final = 16
MAX_LABEL_KEY: Final = 64
MAX_LABEL_VALUE: Final = 512
MAX_TARGET_MODULES: Final = 256
MAX_PATTERNS: Final = 64
MIN_SEQUENCE_LENGTH: Final = 16
MAX_PRIORITY: Final = 1000
MAX_SEED: Final = 2**53 - 1
"""The manifest is JSON, where larger integers are not exact in every language."""

_MODULE: Final = re.compile(r"[A-Za-z0-9_*]{1,128}(\.[A-Za-z0-9_*]{1,128}){0,15}")

N = TypeVar("N", bound=ResourceName)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraft:
    """What a caller asks for, names still unread.

    Attributes:
        parent: project it belongs to.
        training_job_id: the id wanted; empty leaves it to the server.
        base_model: what to train on.
        dataset: rows to learn.
        validation_dataset: rows to measure on, or empty.
        adapter: what gets the new version.
        hyperparameters: how to train.
        labels: the caller's own pairs.
        validation_fraction: share of the data set's different rows to measure on, or None.
        priority: of jobs that wait, those with a higher one come first.
        force: train though the plan is hopeless.
    """

    parent: str
    training_job_id: str
    base_model: str
    dataset: str
    validation_dataset: str
    adapter: str
    hyperparameters: Hyperparameters
    labels: Mapping[str, str] = field(default_factory=dict)
    validation_fraction: float | None = None
    priority: int = 0
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedJob:
    """A draft in which every field is right by itself; whether what it names exists is another question."""

    name: TrainingJobName
    base_model: BaseModelName
    dataset: DatasetName
    validation_dataset: DatasetName | None
    adapter: AdapterName
    hyperparameters: Hyperparameters
    labels: Mapping[str, str]
    validation_fraction: float | None = None
    priority: int


def admit(draft: JobDraft, new_id: str) -> AdmittedJob:
    """Check a draft.

    Args:
        draft: what is asked for.
        new_id: the job's id if the draft names none.

    Raises:
        DomainError: INVALID_ARGUMENT with a violation for each field at fault.
    """
    faults = _Faults()
    parent = faults.parse(ProjectName, draft.parent, "parent")
    project = parent.project if parent else None
    job_id = faults.slug(draft.training_job_id, "training_job_id") if draft.training_job_id else new_id
    base_model = faults.parse(BaseModelName, draft.base_model, "training_job.base_model")
    dataset = _owned(faults, DatasetName, draft.dataset, "training_job.dataset", project)
    validation = (
        _owned(faults, DatasetName, draft.validation_dataset, "training_job.validation_dataset", project)
        if draft.validation_dataset
        else None
    )
    adapter = _owned(faults, AdapterName, draft.adapter, "training_job.adapter", project)
    _check_fraction(faults, draft)
    _check_labels(faults, draft.labels)
    in_range = -MAX_PRIORITY <= draft.priority <= MAX_PRIORITY
    text = f"it is {draft.priority}; it must be at least -{MAX_PRIORITY} and at most {MAX_PRIORITY}"
    faults.require(in_range, "training_job.priority", text)
    _check_hyperparameters(faults, draft.hyperparameters)
    if project is None or base_model is None or dataset is None or adapter is None or faults.violations:
        raise faults.error()
    return AdmittedJob(
        name=TrainingJobName(project, job_id),
        base_model=base_model,
        dataset=dataset,
        validation_dataset=validation,
        adapter=adapter,
        hyperparameters=draft.hyperparameters,
        labels=dict(draft.labels),
        validation_fraction=draft.validation_fraction,
        priority=draft.priority,
    )


def check_sequence_length(hyperparameters: Hyperparameters, base_model: BaseModelName, document: bytes) -> None:
    """Hold max_sequence_length against the base's context, where its fingerprint document tells it.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    wanted, context = hyperparameters.max_sequence_length, context_length(document)
    if wanted is not None and context is not None and wanted > context:
        faults = _Faults()
        text = f"it is {wanted}, but the context of {base_model} is {context} tokens"
        faults.add("training_job.hyperparameters.max_sequence_length", text)
        raise faults.error()


def context_length(document: bytes) -> int | None:
    """Return the tokens a base can see at once, from its fingerprint document; None if it does not say."""
    try:
        config = json.loads(document).get("config", {})
    except (ValueError, AttributeError):
        return None
    return context_of(config)


def context_of(config: Mapping[str, Any]) -> int | None:
    """Return the tokens a model of this config.json can see at once; None if it does not say."""
    for place in (config, config.get("text_config")):
        for key in ("max_position_embeddings", "n_positions"):
            if isinstance(place, dict) and isinstance(place.get(key), int):
                return int(place[key])
    return None


class _Faults:
    """Violations found so far."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def add(self, name: str, text: str) -> None:
        self.violations.append(Violation(name, text))

    def require(self, condition: bool, name: str, text: str) -> None:
        if not condition:
            self.add(name, text)

    def parse(self, kind: type[N], value: str, name: str) -> N | None:
        try:
            return kind.parse(value, name)
        except DomainError as error:
            self.violations.extend(error.violations)
            return None

    def slug(self, value: str, name: str) -> str:
        try:
            return check_slug(value, name)
        except DomainError as error:
            self.violations.extend(error.violations)
            return ""

    def error(self) -> DomainError:
        told = "; ".join(f"{violation.field}: {violation.description}" for violation in self.violations)
        return DomainError(
            Reason.INVALID_ARGUMENT, f"The training job cannot be created. {told}.", violations=self.violations
        )


def _owned(faults: _Faults, kind: type[N], value: str, name: str, project: str | None) -> N | None:
    """Read the name of something that must belong to the job's own project."""
    parsed = faults.parse(kind, value, name)
    owner: Any = getattr(parsed, "project", None)
    if parsed is not None and project is not None and owner != project:
        faults.add(name, f"it belongs to project {owner}; a job of project {project} can only use its own")
        return None
    return parsed


def _check_fraction(faults: _Faults, draft: JobDraft) -> None:
    name, fraction = "training_job.validation_fraction", draft.validation_fraction
    if fraction is None:
        return
    # NaN compares false with everything.
    fits = 0 <= fraction <= MOST_FRACTION
    faults.require(fits, name, f"it is {fraction}; it must be at least 0 and at most {MOST_FRACTION}")
    alone = not draft.validation_dataset
    faults.require(alone, name, "it must be left out beside a validation_dataset, which says what to measure on")


def _check_labels(faults: _Faults, labels: Mapping[str, str]) -> None:
    name = "training_job.labels"
    faults.require(len(labels) <= MAX_LABELS, name, f"there are {len(labels)}; at most {MAX_LABELS} are kept")
    for key, value in labels.items():
        fits = 1 <= len(key) <= MAX_LABEL_KEY
        faults.require(fits, name, f"the key {key[:MAX_LABEL_KEY]!r} must have 1 to {MAX_LABEL_KEY} characters")
        text = f"the value of {key[:MAX_LABEL_KEY]!r} has {len(value)} characters; at most {MAX_LABEL_VALUE} are kept"
        faults.require(len(value) <= MAX_LABEL_VALUE, name, text)


def _check_hyperparameters(faults: _Faults, asked: Hyperparameters) -> None:
    prefix = "training_job.hyperparameters."
    for allowed in _RANGES:
        value = getattr(asked, allowed.field)
        text = f"it is {value}; it must be {allowed}"
        faults.require(value is None or allowed.admits(value), prefix + allowed.field, text)
    _check_names(faults, asked.target_modules, prefix + "target_modules", MAX_TARGET_MODULES)
    _check_names(faults, asked.modules_to_save, prefix + "modules_to_save", MAX_PATTERNS)
    _check_values(faults, asked.rank_pattern, prefix + "rank_pattern", _RANK)
    _check_values(faults, asked.alpha_pattern, prefix + "alpha_pattern", _ALPHA)


@dataclass(frozen=True, slots=True)
class _Range:
    field: str
    low: float
    high: float
    low_excluded: bool = False

    def admits(self, value: float) -> bool:
        # NaN compares false with everything, so it is outside.
        return (self.low < value if self.low_excluded else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        return f"{'above' if self.low_excluded else 'at least'} {self.low} and at most {self.high}"


_RANK: Final = _Range("lora_rank", 1, 512)
_ALPHA: Final = _Range("lora_alpha", 0, 65536, low_excluded=True)
_RANGES: Final = (
    _Range("epochs", 1, 1000),
    _Range("batch_size", 1, 4096),
    _Range("learning_rate", 0, 1, low_excluded=True),
    _Range("warmup_ratio", 0, 1),
    _RANK,
    _ALPHA,
    _Range("max_sequence_length", MIN_SEQUENCE_LENGTH, 2**24),
    _Range("seed", 0, MAX_SEED),
    _Range("weight_decay", 0, 1),
    _Range("max_gradient_norm", 0, 10**6, low_excluded=True),
    _Range("early_stopping_patience", 0, 100),
)


def _check_names(faults: _Faults, patterns: Sequence[str], name: str, most: int) -> None:
    faults.require(len(patterns) <= most, name, f"there are {len(patterns)}; at most {most} are taken")
    faults.require(len(set(patterns)) == len(patterns), name, "a name is listed twice")
    for pattern in patterns[:most]:
        text = f"{pattern[:128]!r} is not the end of a module's name, such as q_proj or layers.0.*.q_proj"
        faults.require(bool(_MODULE.fullmatch(pattern)), name, text)


def _check_values(faults: _Faults, values: Mapping[str, float], name: str, allowed: _Range) -> None:
    _check_names(faults, tuple(values), name, MAX_PATTERNS)
    for pattern, value in list(values.items())[:MAX_PATTERNS]:
        faults.require(allowed.admits(value), name, f"{pattern[:128]} has {value}; it must be {allowed}")
