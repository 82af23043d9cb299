"""Jobs that are deleted, and jobs that are looked for."""

from pathlib import Path

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.resource_names import BaseModelName, TrainingJobName
from services.trainer.jobs import rules
from services.trainer.model import JobFilter, JobState, Lease
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import PROJECT, dataset, job, nothing, queue, queued
from tests.contract.trainer.test_checkpoints import draft, held, keep


@pytest.fixture
def artifacts(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore.open(tmp_path / "artifacts")


async def remove(store: Store, name: TrainingJobName) -> list[str]:
    discarded: list[str] = []

    async def discard(sha256: str) -> None:
        discarded.append(sha256)

    await store.jobs.remove(name, discard)
    return discarded


async def reason(store: Store, name: TrainingJobName) -> Reason:
    with pytest.raises(DomainError) as caught:
        await remove(store, name)
    return caught.value.reason


async def ended(store: Store, lease: Lease) -> None:
    await store.jobs.change(lease.name, rules.cancel)
    await queue(store).confirm_cancellation(lease)


async def test_only_a_job_that_has_ended_is_deleted_with_all_of_it(store: Store) -> None:
    lease = await held(store)
    await keep(queue(store), lease, 10, 20)
    assert await reason(store, lease.name) is Reason.TRAINING_JOB_WRONG_STATE
    await ended(store, lease)
    assert sorted(await remove(store, lease.name)) == sorted(draft(step).sha256 for step in (10, 20))
    assert await reason(store, lease.name) is Reason.TRAINING_JOB_NOT_FOUND
    assert await store.jobs.events(lease.name, after=0, limit=9) == []
    assert await store.jobs.checkpoints(lease.name, before=None, limit=9) == []
    assert await store.jobs.discardable(9) == []


async def test_bytes_that_another_job_may_need_stay(store: Store) -> None:
    first = await held(store)
    await keep(queue(store), first, 10)
    await queued(store, "twin")
    second = await held(store)
    await keep(queue(store), second, 10)
    await ended(store, first)
    assert await store.jobs.discardable(9) == []
    assert await remove(store, first.name) == []
    await ended(store, second)
    assert [checkpoint.sha256 for _, checkpoint in await store.jobs.discardable(9)] == [draft(10).sha256]
    assert await remove(store, second.name) == [draft(10).sha256]


async def test_jobs_are_found_by_base_and_state_in_all_projects(store: Store) -> None:
    for project in (PROJECT, "apes"):
        await store.datasets.add(dataset(project=project), nothing)
        await store.jobs.create(job("waits", project=project))
    await store.jobs.create(job("done"))
    await store.jobs.change(TrainingJobName(PROJECT, "done"), rules.cancel)

    async def found(chosen: JobFilter) -> list[str]:
        return [str(job.name) for job in await store.jobs.page(chosen, before=None, limit=9)]

    waiting = ["projects/apes/trainingJobs/waits", f"projects/{PROJECT}/trainingJobs/waits"]
    assert await found(JobFilter(None, BaseModelName("tiny"), (JobState.QUEUED, JobState.RUNNING))) == waiting
    assert await found(JobFilter(PROJECT, states=(JobState.CANCELLED,))) == [f"projects/{PROJECT}/trainingJobs/done"]
    assert await found(JobFilter(None, BaseModelName("other"))) == []
    assert len(await found(JobFilter(None))) == 3
