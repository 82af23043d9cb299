"""Where data sets and jobs are kept: the interface that use cases are written against.

One suite of tests runs over both implementations, ``postgres`` and ``memory``.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from services.common.errors import DomainError, Reason
from services.common.idempotency import RequestLog
from services.common.resource_names import DatasetName, TrainingJobName
from services.trainer.jobs.rules import Rule
from services.trainer.model import Dataset, JobCheckpoint, JobEvent, JobFilter, Told, TrainingJob

EVENTS_CHANNEL: Final = "trainer_events"
"""Notified with a job's name whenever it got events."""

WORK_CHANNEL: Final = "trainer_work"
"""Notified with a job's name when it waits for a worker, and when its worker shall stop."""

Step = Callable[[], Awaitable[None]]


class DatasetStore(Protocol):
    """Data sets by name."""

    async def add(self, dataset: Dataset, confirm: Step) -> Dataset:
        """Keep a data set, if ``confirm`` passes; no data set of the same content is discarded meanwhile.

        Raises:
            DomainError: whatever ``confirm`` raises; nothing is kept then.
        """

    async def get(self, name: DatasetName) -> Dataset:
        """Return a data set.

        Raises:
            DomainError: DATASET_NOT_FOUND.
        """

    async def page(self, project: str, *, before: int | None, limit: int) -> Sequence[Dataset]:
        """Return a project's data sets whose position is below ``before``, newest first."""

    async def remove(self, name: DatasetName) -> Dataset:
        """Forget a data set and return what it was; its content stays.

        Raises:
            DomainError: DATASET_NOT_FOUND; DATASET_IN_USE by a job that has not ended.
        """

    async def unused(self, seconds: float, limit: int) -> Sequence[DatasetName]:
        """Name data sets of all projects that for so long nobody has uploaded or trained on, oldest first."""


class JobStore(Protocol):
    """Jobs by name, and their events."""

    async def create(self, job: TrainingJob) -> TrainingJob:
        """Keep a new job with its first event.

        Raises:
            DomainError: TRAINING_JOB_EXISTS; DATASET_NOT_FOUND.
        """

    async def get(self, name: TrainingJobName) -> TrainingJob:
        """Return a job.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND.
        """

    async def page(self, chosen: JobFilter, *, before: int | None, limit: int) -> Sequence[TrainingJob]:
        """Return jobs whose position is below ``before``, newest first."""

    async def remove(self, name: TrainingJobName, discard: Callable[[str], Awaitable[None]]) -> None:
        """Forget a job that has ended, and all of it, after the bytes of its checkpoints were discarded by their digests.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; TRAINING_JOB_WRONG_STATE; whatever ``discard`` raises.
        """

    async def change(self, name: TrainingJobName, rule: Rule) -> TrainingJob:
        """Apply a rule to the job, alone on it, and return the job as it is then.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; whatever the rule raises, and nothing is changed then.
        """

    async def change_next_queued(self, rule: Rule, *, project_limit: int | None = None) -> TrainingJob | None:
        """Apply a rule to the QUEUED job whose turn it is and that nobody else is changing; None if there is none.

        The highest priority comes first, then the oldest. Jobs of projects in which ``project_limit`` jobs are held already
        are passed over.
        """

    async def change_expired(self, rule: Rule, *, grace_seconds: float) -> TrainingJob | None:
        """Apply a rule to a held job whose lease has run out by the store's clock; None if there is none.

        No lease runs out before the store has been up for ``grace_seconds``: until then it could not be renewed.
        """

    async def events(
        self, name: TrainingJobName, *, after: int, limit: int, descending: bool = False
    ) -> Sequence[JobEvent]:
        """Return a job's events with a sequence above ``after``, or when descending below it; none of an unknown job.

        Descending, 0 stands for the end.
        """

    async def told(self, name: TrainingJobName, *, after_step: int) -> Told:
        """Return what a job's events tell of steps after one, and every message; nothing of an unknown job."""

    async def checkpoints(self, name: TrainingJobName, *, before: int | None, limit: int) -> Sequence[JobCheckpoint]:
        """Return the checkpoints that a job has kept and whose number is below ``before``, newest first."""

    async def discardable(self, limit: int) -> Sequence[tuple[str, JobCheckpoint]]:
        """Return checkpoints, each after its project, whose bytes may be in the artifact store and nobody can need."""

    async def discard(self, project: str, checkpoint: JobCheckpoint, discard: Step) -> bool:
        """Run ``discard`` if nobody can need the checkpoint still, let nobody begin to meanwhile, and write down that it is gone.

        Raises:
            Exception: whatever ``discard`` raises, and nothing is written then.
        """

    async def forget_events(self, seconds: float, limit: int) -> int:
        """Remove steps, messages and checkpoints from the events of jobs that ended so long ago; return how many."""

    async def manifest(self, name: TrainingJobName) -> bytes | None:
        """Return the manifest kept with a job, if there is one."""


class BlobLedger(Protocol):
    """Who needs which bytes in the artifact store."""

    async def suite(self) -> str:
        """Return the id of the suite, which goes wherever its database goes."""

    async def hold(self, project: str, sha256s: Iterable[str], seconds: float) -> None:
        """Let nobody discard these for so long, whether they are there yet or not."""

    async def manifests_to_publish(self, project: str) -> Sequence[bytes]:
        """Return the manifests whose files jobs of a project are about to publish."""

    async def if_unneeded(self, project: str, sha256: str, discard: Step) -> bool:
        """Run ``discard`` if no data set, no checkpoint and no hold needs the bytes, and let none begin to meanwhile.

        What versions and manifests name is not looked at.
        """

    async def forget_holds(self) -> None:
        """Forget holds that are over."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Both stores and the log of answered calls, whose writes appear together or not at all."""

    requests: RequestLog
    datasets: DatasetStore
    jobs: JobStore


class Store(Protocol):
    """All that the trainer keeps. Each call of ``datasets`` and ``jobs`` is a transaction of its own."""

    @property
    def datasets(self) -> DatasetStore:
        """The data sets."""

    @property
    def jobs(self) -> JobStore:
        """The jobs."""

    @property
    def blobs(self) -> BlobLedger:
        """Who needs which bytes."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction: kept when the block ends, undone when it raises."""


def dataset_not_found(name: DatasetName) -> DomainError:
    """The error of a data set that is not there."""
    text = f"There is no data set {name}. List the project's data sets, or upload it first."
    return DomainError(Reason.DATASET_NOT_FOUND, text, {"dataset": str(name)})


def dataset_in_use(name: DatasetName, job: str) -> DomainError:
    """The error of a data set that cannot be deleted yet."""
    text = f"{name} is needed by {job}, which has not ended. Cancel the job, or wait for its end."
    return DomainError(Reason.DATASET_IN_USE, text, {"dataset": str(name), "training_job": job})


def job_not_found(name: TrainingJobName) -> DomainError:
    """The error of a job that is not there."""
    text = f"There is no training job {name}."
    return DomainError(Reason.TRAINING_JOB_NOT_FOUND, text, {"training_job": str(name)})


def job_exists(name: TrainingJobName) -> DomainError:
    """The error of an id that is taken."""
    text = f"There is a training job {name} already. Choose another id, or leave it to the server."
    return DomainError(Reason.TRAINING_JOB_EXISTS, text, {"training_job": str(name)})
