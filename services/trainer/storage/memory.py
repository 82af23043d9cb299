"""Data sets and jobs in the memory of one process, for tests of what is built on them."""

import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from services.common.idempotency import MemoryRequestLog
from services.common.resource_names import DatasetName, TrainingJobName
from services.trainer.jobs.rules import Change, Rule, require_ended
from services.trainer.jobs.wakeups import Wakeups
from services.trainer.model import (
    HELD,
    KEPT_CHECKPOINTS,
    CheckpointKept,
    Dataset,
    JobCheckpoint,
    JobEvent,
    JobFilter,
    JobMessage,
    JobState,
    StateChange,
    StepMetrics,
    Told,
    TrainingJob,
)
from services.trainer.storage.store import (
    Step,
    Transaction,
    dataset_in_use,
    dataset_not_found,
    job_exists,
    job_not_found,
)


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryStore:
    """A ``Store``.

    No method awaits between reading and writing (but for the steps of callers), so none can meet another. A transaction
    undoes nothing: the calls in it write last, or not at all.
    """

    def __init__(self, clock: Callable[[], datetime] = _now, wakeups: Wakeups | None = None) -> None:
        """Start empty.

        Args:
            clock: what leases run by.
            wakeups: woken where Postgres would notify.
        """
        self.clock = clock
        self.wakeups = wakeups or Wakeups()
        self.positions = itertools.count(1)
        self.datasets = MemoryDatasetStore(self)
        self.jobs = MemoryJobStore(self)
        self.blobs = MemoryBlobLedger(self)
        self._requests = MemoryRequestLog({})

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See ``Store``."""
        yield Transaction(self._requests, self.datasets, self.jobs)


class MemoryDatasetStore:
    """A ``DatasetStore``."""

    def __init__(self, memory: MemoryStore) -> None:
        """Share a memory with the jobs."""
        self._memory = memory
        self._datasets: dict[DatasetName, Dataset] = {}

    async def add(self, dataset: Dataset, confirm: Step) -> Dataset:
        """See ``DatasetStore``."""
        await confirm()
        kept = replace(dataset, create_time=self._memory.clock(), position=next(self._memory.positions))
        self._datasets[dataset.name] = kept
        return kept

    async def get(self, name: DatasetName) -> Dataset:
        """See ``DatasetStore``."""
        dataset = self._datasets.get(name)
        if dataset is None:
            raise dataset_not_found(name)
        return dataset

    async def page(self, project: str, *, before: int | None, limit: int) -> Sequence[Dataset]:
        """See ``DatasetStore``."""
        newest = sorted(self._datasets.values(), key=lambda dataset: -dataset.position)
        found = [d for d in newest if d.name.project == project and (before is None or d.position < before)]
        return found[:limit]

    async def remove(self, name: DatasetName) -> Dataset:
        """See ``DatasetStore``."""
        dataset = await self.get(name)
        user = self._memory.jobs.unfinished_user_of(name)
        if user:
            raise dataset_in_use(name, str(user))
        del self._datasets[name]
        return dataset

    async def unused(self, seconds: float, limit: int) -> Sequence[DatasetName]:
        """See ``DatasetStore``."""
        since = self._memory.clock() - timedelta(seconds=seconds)
        kept = sorted(self._datasets.values(), key=lambda dataset: dataset.position)
        found = [
            dataset.name
            for dataset in kept
            if dataset.create_time
            and dataset.create_time < since
            and not self._memory.jobs.used_since(dataset.name, since)
        ]
        return found[:limit]

    def has_content(self, project: str, sha256: str) -> bool:
        """Whether a data set of the project has the content."""
        return any(d.name.project == project and d.sha256 == sha256 for d in self._datasets.values())


class MemoryJobStore:
    """A ``JobStore``."""

    def __init__(self, memory: MemoryStore) -> None:
        """Share a memory with the data sets."""
        self._memory = memory
        self._jobs: dict[TrainingJobName, TrainingJob] = {}
        self._events: dict[TrainingJobName, list[JobEvent]] = {}
        self._leases: dict[TrainingJobName, datetime] = {}
        self._manifests: dict[TrainingJobName, bytes] = {}
        self._checkpoints: dict[TrainingJobName, list[tuple[int, JobCheckpoint]]] = {}

    def unfinished_user_of(self, dataset: DatasetName) -> TrainingJobName | None:
        """Return a job that has not ended and needs the data set."""
        users = (job for job in self._jobs.values() if dataset in {job.dataset, job.validation_dataset})
        return next((job.name for job in users if not job.state.final), None)

    def used_since(self, dataset: DatasetName, since: datetime) -> bool:
        """Whether a job that needed the data set has not ended, or did so lately."""
        users = (job for job in self._jobs.values() if dataset in {job.dataset, job.validation_dataset})
        return any(job.end_time is None or job.end_time >= since for job in users)

    def has_checkpoint(self, project: str, sha256: str) -> bool:
        """Whether a job of the project has a checkpoint of the content."""
        return any(
            checkpoint.stored and checkpoint.sha256 == sha256
            for name, written in self._checkpoints.items()
            if name.project == project
            for _, checkpoint in written
        )

    def manifests_to_publish(self, project: str) -> list[bytes]:
        """The manifests of the project's jobs that have not ended."""
        kept = self._manifests.items()
        return [data for name, data in kept if name.project == project and not self._jobs[name].state.final]

    async def create(self, job: TrainingJob) -> TrainingJob:
        """See ``JobStore``."""
        for dataset in filter(None, (job.dataset, job.validation_dataset)):
            await self._memory.datasets.get(dataset)
        if job.name in self._jobs:
            raise job_exists(job.name)
        created = replace(job, create_time=self._memory.clock(), position=next(self._memory.positions))
        return self._write(created, Change(job, (StateChange(job.state),)))

    async def get(self, name: TrainingJobName) -> TrainingJob:
        """See ``JobStore``."""
        job = self._jobs.get(name)
        if job is None:
            raise job_not_found(name)
        return job

    async def remove(self, name: TrainingJobName, discard: Callable[[str], Awaitable[None]]) -> None:
        """See ``JobStore``."""
        require_ended(await self.get(name))
        needed = self._needed_beside(name)
        for _, checkpoint in self._checkpoints.get(name, []):
            if checkpoint.stored and checkpoint.sha256 not in needed:
                await discard(checkpoint.sha256)
        del self._jobs[name]
        for kept in (self._events, self._manifests, self._checkpoints):
            kept.pop(name, None)

    async def page(self, chosen: JobFilter, *, before: int | None, limit: int) -> Sequence[TrainingJob]:
        """See ``JobStore``."""
        newest = sorted(filter(chosen, self._jobs.values()), key=lambda job: -job.position)
        return [job for job in newest if before is None or job.position < before][:limit]

    async def change(self, name: TrainingJobName, rule: Rule) -> TrainingJob:
        """See ``JobStore``."""
        return self._apply(await self.get(name), rule)

    async def change_next_queued(self, rule: Rule, *, project_limit: int | None = None) -> TrainingJob | None:
        """See ``JobStore``."""
        held = Counter(job.name.project for job in self._jobs.values() if job.state in HELD)
        queued = [
            job
            for job in self._jobs.values()
            if job.state is JobState.QUEUED and (project_limit is None or held[job.name.project] < project_limit)
        ]
        return self._apply(min(queued, key=lambda job: (-job.priority, job.position)), rule) if queued else None

    async def change_expired(self, rule: Rule, *, grace_seconds: float) -> TrainingJob | None:  # noqa: ARG002 - memory is never down
        """See ``JobStore``."""
        now = self._memory.clock()
        expired = [self._jobs[name] for name, expires in self._leases.items() if expires < now]
        return self._apply(min(expired, key=lambda job: job.position), rule) if expired else None

    async def events(
        self, name: TrainingJobName, *, after: int, limit: int, descending: bool = False
    ) -> Sequence[JobEvent]:
        """See ``JobStore``."""
        events = self._events.get(name, [])
        if descending:
            return [event for event in reversed(events) if after == 0 or event.sequence < after][:limit]
        return [event for event in events if event.sequence > after][:limit]

    async def told(self, name: TrainingJobName, *, after_step: int) -> Told:
        """See ``JobStore``."""
        bodies = (event.body for event in self._events.get(name, []))
        return Told.of(body for body in bodies if not isinstance(body, StepMetrics) or body.step > after_step)

    async def checkpoints(self, name: TrainingJobName, *, before: int | None, limit: int) -> Sequence[JobCheckpoint]:
        """See ``JobStore``."""
        newest = [checkpoint for _, checkpoint in reversed(self._checkpoints.get(name, []))]
        return [c for c in newest if c.keep_time and (before is None or c.number < before)][:limit]

    async def discardable(self, limit: int) -> Sequence[tuple[str, JobCheckpoint]]:
        """See ``JobStore``."""
        found = []
        for name, written in self._checkpoints.items():
            job, newer, needed = self._jobs[name], 0, self._needed_beside(name)
            for epoch, checkpoint in reversed(written):
                unfinished = checkpoint.keep_time is None and epoch < job.epoch
                unneeded = job.state.final or unfinished or newer >= KEPT_CHECKPOINTS
                if checkpoint.stored and unneeded and checkpoint.sha256 not in needed:
                    found.append((name.project, checkpoint))
                newer += bool(checkpoint.stored and checkpoint.keep_time)
        return sorted(found, key=lambda pair: pair[1].number)[:limit]

    def _needed_beside(self, name: TrainingJobName) -> set[str]:
        """Digests of checkpoints that other jobs of the project, which go on, have as well."""
        return {
            checkpoint.sha256
            for other, written in self._checkpoints.items()
            if other != name and other.project == name.project and not self._jobs[other].state.final
            for _, checkpoint in written
            if checkpoint.stored
        }

    async def discard(self, project: str, checkpoint: JobCheckpoint, discard: Step) -> bool:
        """See ``JobStore``."""
        if (project, checkpoint) not in await self.discardable(sys.maxsize):
            return False
        await discard()
        for written in self._checkpoints.values():
            for place, (epoch, kept) in enumerate(written):
                if kept.number == checkpoint.number:
                    written[place] = (epoch, replace(kept, stored=False))
        return True

    async def forget_events(self, seconds: float, limit: int) -> int:
        """See ``JobStore``."""
        since, count = self._memory.clock() - timedelta(seconds=seconds), 0
        for name, events in self._events.items():
            end_time = self._jobs[name].end_time
            for event in list(events) if end_time and end_time < since else ():
                if count < limit and isinstance(event.body, StepMetrics | JobMessage | CheckpointKept):
                    events.remove(event)
                    count += 1
        return count

    async def manifest(self, name: TrainingJobName) -> bytes | None:
        """See ``JobStore``."""
        await self.get(name)
        return self._manifests.get(name)

    def _apply(self, job: TrainingJob, rule: Rule) -> TrainingJob:
        change = rule(job)
        return job if change is None else self._write(job, change)

    def _write(self, job: TrainingJob, change: Change) -> TrainingJob:
        now, name = self._memory.clock(), job.name
        self._events.setdefault(name, []).extend(
            JobEvent(job.last_sequence + place, now, body) for place, body in enumerate(change.events, start=1)
        )
        written = replace(
            change.job,
            position=job.position,
            create_time=job.create_time,
            last_sequence=job.last_sequence + len(change.events),
            start_time=job.start_time or (now if change.job.state is JobState.RUNNING else None),
            end_time=job.end_time or (now if change.job.state.final else None),
        )
        self._jobs[name] = written
        if change.manifest is not None:
            self._manifests[name] = change.manifest
        self._write_checkpoints(job, change, now)
        if written.worker is None:
            self._leases.pop(name, None)
        elif change.lease_seconds is not None:
            self._leases[name] = now + timedelta(seconds=change.lease_seconds)
        if change.events:
            self._memory.wakeups.wake(str(name))
        return written

    def _write_checkpoints(self, job: TrainingJob, change: Change, now: datetime) -> None:
        written, draft = self._checkpoints.setdefault(job.name, []), change.draft
        if draft is not None:
            earlier = next((pair for pair in written if pair[1].sha256 == draft.sha256), None)
            if earlier is None or earlier[0] < job.epoch or not earlier[1].stored:
                number = next(self._memory.positions)
                keep_time = earlier[1].keep_time if earlier and earlier[1].stored else None
                fields = asdict(draft) | {"metrics": draft.metrics, "number": number, "keep_time": keep_time}
                written[:] = [pair for pair in written if pair is not earlier]
                written.append((job.epoch, JobCheckpoint(**fields, stored=True)))
        kept = {event.sha256 for event in change.events if isinstance(event, CheckpointKept)}
        for place, (epoch, checkpoint) in enumerate(written):
            if checkpoint.sha256 in kept:
                written[place] = (epoch, replace(checkpoint, keep_time=now))


class MemoryBlobLedger:
    """A ``BlobLedger``."""

    def __init__(self, memory: MemoryStore) -> None:
        """Share a memory with data sets and jobs."""
        self._memory = memory
        self._holds: dict[tuple[str, str], datetime] = {}
        self._suite = str(uuid4())

    async def suite(self) -> str:
        """See ``BlobLedger``."""
        return self._suite

    async def hold(self, project: str, sha256s: Iterable[str], seconds: float) -> None:
        """See ``BlobLedger``."""
        until = self._memory.clock() + timedelta(seconds=seconds)
        for sha256 in sha256s:
            self._holds[project, sha256] = max(until, self._holds.get((project, sha256), until))

    async def manifests_to_publish(self, project: str) -> Sequence[bytes]:
        """See ``BlobLedger``."""
        return self._memory.jobs.manifests_to_publish(project)

    async def if_unneeded(self, project: str, sha256: str, discard: Step) -> bool:
        """See ``BlobLedger``."""
        now = self._memory.clock()
        if (
            self._memory.datasets.has_content(project, sha256)
            or self._memory.jobs.has_checkpoint(project, sha256)
            or self._holds.get((project, sha256), now) > now
        ):
            return False
        await discard()
        return True

    async def forget_holds(self) -> None:
        """See ``BlobLedger``."""
        now = self._memory.clock()
        self._holds = {key: until for key, until in self._holds.items() if until >= now}
