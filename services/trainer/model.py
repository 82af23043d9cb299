"""What the trainer keeps: data sets and training jobs, as the use cases and stores see them."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, DatasetName, TrainingJobName
from services.trainer.datasets import DatasetFormat, Statistics
from services.trainer.recipe.protocol import Finding, Level, Plan, RecipeHyperparameters

Hyperparameters = RecipeHyperparameters
"""How to train; what is None is chosen by the recipe, and kept with the job once it is."""


class JobState(enum.StrEnum):
    """Where a job is in its life; ``TrainingJob.State`` in lower case."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether a job in this state stays in it."""
        return not TRANSITIONS[self]


TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED}),
        # Back to QUEUED when the worker is lost or gives the job back.
        JobState.RUNNING: frozenset(
            {JobState.QUEUED, JobState.PAUSING, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}
        ),
        # It may be done, or have failed, before the worker hears of the pause; it may be resumed before it has paused.
        JobState.PAUSING: frozenset(
            {JobState.PAUSED, JobState.RUNNING, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}
        ),
        JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
        # It may be done, or have failed, before the worker hears of the cancellation.
        JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)
"""Which states may follow which."""

HELD: Final = frozenset({JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""States in which a worker has the job."""

KEPT_CHECKPOINTS: Final = 2
"""How many of a job's checkpoints stay in the artifact store: the last one, and one for when that is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An uploaded file in which no row has a fault.

    Attributes:
        name: its resource name.
        display_name: the file's name as uploaded; shown, never used as a path.
        format: layout of its rows.
        size: bytes.
        sha256: of the bytes; names them in the artifact store.
        statistics: what the check counted.
        create_time: when it was stored; None before.
        position: order of creation within the trainer; 0 before it is stored.
    """

    name: DatasetName
    display_name: str
    format: DatasetFormat
    size: int
    sha256: str
    statistics: Statistics
    create_time: datetime | None = None
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is; the fields of ``TrainingProgress``."""

    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    trained_tokens: int = 0


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a DomainError that can be kept and compared."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: DomainError) -> "JobError":
        """Keep what a job's owner may read of an error."""
        return cls(error.reason, error.message, error.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """Figures of one optimizer step; the fields of ``TrainingJobEvent.StepMetrics``."""

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


@dataclass(frozen=True, slots=True)
class StateChange:
    """A job entered a state; with FAILED, why."""

    state: JobState
    error: JobError | None = None


@dataclass(frozen=True, slots=True)
class JobMessage:
    """A sentence for people."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class CheckpointKept:
    """A checkpoint is in the artifact store.

    Attributes:
        step: optimizer steps done in it.
        size: bytes.
        sha256: of its bytes; not shown to callers.
    """

    step: int
    size: int
    sha256: str


EventBody = StateChange | StepMetrics | JobMessage | Finding | CheckpointKept


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        sequence: position among the job's events, from 1 and without gaps.
        time: when it was written.
        body: what happened.
    """

    sequence: int
    time: datetime
    body: EventBody

    @property
    def final(self) -> bool:
        """Whether no event can follow."""
        return isinstance(self.body, StateChange) and self.body.state.final


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs somebody asks for.

    Attributes:
        project: theirs; None for those of all.
        base_model: those on it; None for any.
        states: those in one of them; empty for any. In the order of their names, each once.
    """

    project: str | None
    base_model: BaseModelName | None = None
    states: tuple[JobState, ...] = ()

    def __call__(self, job: "TrainingJob") -> bool:
        """Whether a job is one of them."""
        return (
            self.project in {None, job.name.project}
            and self.base_model in {None, job.base_model}
            and (not self.states or job.state in self.states)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One run of training, with what the queue knows about it.

    Attributes:
        name: its resource name.
        base_model: what to train on.
        base_fingerprint_id: what that was when the job was created.
        dataset: rows to learn.
        validation_dataset: rows to measure on, or None.
        validation_fraction: share of the data set's different rows to measure on; None leaves it to the recipe.
        adapter: what gets the new version.
        hyperparameters: as asked for; complete once training has started.
        labels: the caller's own pairs.
        priority: of jobs that wait, those with a higher one come first.
        force: train though the plan is hopeless.
        plan: what it was reckoned to be; None before a worker has reckoned it.
        state: where it is in its life.
        progress: how far it is.
        adapter_version: what it made, once SUCCEEDED.
        error: why it failed, once FAILED.
        attempt: how many times a worker took it.
        losses: how many workers, or training processes, were lost since the last checkpoint.
        epoch: of the lease; rises whenever the job changes hands, so that an earlier holder's writes can be refused.
        worker: who holds it; None while nobody does.
        batch: number of the last batch of events the present holder wrote, so that none is written twice.
        revision: rises with every change of state.
        last_sequence: of its events.
        position: order of creation within the trainer; 0 before it is stored.
        traceparent: the trace it was created in (W3C Trace Context), or empty.
        create_time: when it was stored; None before.
        start_time: when a worker first took it.
        end_time: when it entered a final state.
    """

    name: TrainingJobName
    base_model: BaseModelName
    base_fingerprint_id: str
    dataset: DatasetName
    validation_dataset: DatasetName | None
    adapter: AdapterName
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    labels: Mapping[str, str] = field(default_factory=dict)
    validation_fraction: float | None = None
    priority: int = 0
    force: bool = False
    plan: Plan | None = None
    state: JobState = JobState.QUEUED
    progress: Progress = field(default_factory=Progress)
    adapter_version: AdapterVersionName | None = None
    error: JobError | None = None
    attempt: int = 0
    losses: int = 0
    epoch: int = 0
    worker: str | None = None
    batch: int = 0
    revision: int = 0
    last_sequence: int = 0
    position: int = 0
    traceparent: str = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to a job. Every write carries it; once the job has changed hands, each is refused.

    Attributes:
        name: the job.
        epoch: the job's epoch when it was taken.
    """

    name: TrainingJobName
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events of a running job that are written together.

    Attributes:
        number: 1 for the first batch of a lease; a number already written is not written again.
        events: what happened, in order.
        progress: how far the job is after them; None leaves it.
        hyperparameters: every choice made, once it is; None leaves them.
        plan: what the training was reckoned to be; None leaves it.
    """

    number: int
    events: tuple[EventBody, ...]
    progress: Progress | None = None
    hyperparameters: Hyperparameters | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDraft:
    """A checkpoint that is about to be uploaded.

    Attributes:
        step: optimizer steps done in it.
        sha256: of its bytes; names them in the artifact store.
        size: bytes.
        metrics: of its last step.
    """

    step: int
    sha256: str
    size: int
    metrics: StepMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCheckpoint(CheckpointDraft):
    """A checkpoint that was kept.

    Attributes:
        number: order within the trainer.
        keep_time: when it was kept; None where its upload was not known to be complete.
        stored: whether its bytes are in the artifact store.
    """

    number: int
    keep_time: datetime | None
    stored: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What earlier attempts at a job have told already.

    Attributes:
        steps: by number, only those after some step.
        messages: all of them.
    """

    steps: Mapping[int, StepMetrics]
    messages: frozenset[JobMessage]

    @classmethod
    def of(cls, bodies: Iterable[EventBody]) -> "Told":
        """Gather what events tell."""
        steps, messages = dict[int, StepMetrics](), set[JobMessage]()
        for body in bodies:
            if isinstance(body, StepMetrics):
                steps[body.step] = body
            elif isinstance(body, JobMessage):
                messages.add(body)
        return cls(steps, frozenset(messages))


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker has just taken, with all that it needs from the database.

    Attributes:
        job: RUNNING.
        lease: the right to it.
        dataset: the rows to learn.
        validation_dataset: the rows to measure on, or None.
        manifest: what an earlier attempt was about to publish, or None.
        checkpoints: what to go on from, the newest first.
    """

    job: TrainingJob
    lease: Lease
    dataset: Dataset
    validation_dataset: Dataset | None
    manifest: bytes | None
    checkpoints: tuple[JobCheckpoint, ...] = ()
