"""What a store keeps of checkpoints, and what it says can be discarded."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError
from services.common.resource_names import AdapterVersionName, TrainingJobName
from services.trainer.jobs import rules
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import (
    Batch,
    CheckpointDraft,
    CheckpointKept,
    JobFilter,
    JobMessage,
    JobState,
    Lease,
    Progress,
    StepMetrics,
)
from services.trainer.recipe.protocol import Level
from services.trainer.retention.checkpoints import discard_checkpoints
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import PROJECT, dataset, job, nothing, queue, queued
from tests.unit.trainer.test_recorder import metrics

VERSION = AdapterVersionName(PROJECT, "wukong", "ef" * 32)


def content(step: int, writer: int = 0) -> bytes:
    return f"checkpoint {step} of {writer}".encode()


def draft(step: int, writer: int = 0) -> CheckpointDraft:
    data = content(step, writer)
    return CheckpointDraft(step=step, sha256=hashlib.sha256(data).hexdigest(), size=len(data), metrics=metrics(step))


async def held(store: Store, jobs: JobQueue | None = None) -> Lease:
    if not await store.jobs.page(JobFilter(PROJECT), before=None, limit=1):
        await queued(store)
    claim = await (jobs or queue(store)).claim("worker")
    assert claim is not None
    return claim.lease


async def keep(jobs: JobQueue, lease: Lease, *steps: int, writer: int = 0) -> None:
    for number, step in enumerate(steps, start=1):
        made = draft(step, writer)
        await jobs.announce_checkpoint(lease, made)
        await jobs.append(lease, Batch(number=number, events=(CheckpointKept(step, made.size, made.sha256),)))


async def test_what_is_kept_is_listed_newest_first_and_handed_to_the_next_worker(store: Store) -> None:
    jobs = queue(store)
    lease = await held(store)
    await keep(jobs, lease, 10, 20, 30)
    await jobs.announce_checkpoint(lease, draft(40))  # never completed
    found = await store.jobs.checkpoints(lease.name, before=None, limit=9)
    assert [(c.step, c.metrics, c.stored) for c in found] == [(step, metrics(step), True) for step in (30, 20, 10)]
    assert all(checkpoint.keep_time for checkpoint in found)
    rest = await store.jobs.checkpoints(lease.name, before=found[0].number, limit=1)
    assert [checkpoint.step for checkpoint in rest] == [20]
    assert await store.jobs.checkpoints(TrainingJobName(PROJECT, "none"), before=None, limit=9) == []

    await jobs.give_back(lease)
    claim = await jobs.claim("another")
    assert claim is not None
    assert claim.checkpoints == tuple(found[:2])
    events = await store.jobs.events(lease.name, after=2, limit=3)
    assert [event.body.step for event in events if isinstance(event.body, CheckpointKept)] == [10, 20, 30]


async def test_a_checkpoint_told_twice_is_one(store: Store) -> None:
    jobs = queue(store)
    lease = await held(store)
    made = draft(10)
    for _ in range(2):
        await jobs.announce_checkpoint(lease, made)
    for _ in range(2):
        await jobs.append(lease, Batch(number=1, events=(CheckpointKept(10, made.size, made.sha256),)))
    assert len(await store.jobs.checkpoints(lease.name, before=None, limit=9)) == 1
    assert len(await store.jobs.events(lease.name, after=2, limit=9)) == 1


async def test_what_was_told_is_remembered(store: Store) -> None:
    jobs = queue(store)
    lease = await held(store)
    note = JobMessage(Level.WARNING, "Few rows.")
    await jobs.append(lease, Batch(number=1, events=(note, metrics(1), metrics(2), metrics(3))))
    told = await jobs.told(lease, after_step=1)
    assert told.steps == {2: metrics(2), 3: metrics(3)}
    assert told.messages == {note}
    assert isinstance((await jobs.told(lease, after_step=0)).steps[1], StepMetrics)


async def sweep(store: Store, artifacts: FileSystemStore, root: Path) -> set[int]:
    """Discard what can be, and tell which steps' bytes are left."""
    await discard_checkpoints(store.jobs, artifacts)
    left = {path.name for path in root.rglob("sha256/*/*")}
    return {step for step in range(10, 60, 10) for writer in (0, 1) if draft(step, writer).sha256 in left}


async def test_the_last_two_stay_until_the_job_ends(store: Store, tmp_path: Path) -> None:
    artifacts = FileSystemStore.open(tmp_path)
    jobs = queue(store)
    lease = await held(store)
    for step in (10, 20, 30, 40):
        artifacts.put(PROJECT, [content(step)], max_bytes=99)
    await keep(jobs, lease, 10, 20, 30)
    await jobs.announce_checkpoint(lease, draft(40))
    assert await sweep(store, artifacts, tmp_path) == {20, 30, 40}

    # 40 was on its way when its worker was lost: nobody will say that it is there.
    await store.jobs.change(lease.name, rules.lose(3))
    assert await sweep(store, artifacts, tmp_path) == {20, 30}
    again = await held(store)
    claim_steps = [c.step for c in await store.jobs.checkpoints(lease.name, before=None, limit=2)]
    assert claim_steps == [30, 20]

    # It began again at the beginning, because neither would do: what it keeps now counts, however far it is.
    artifacts.put(PROJECT, [content(10, writer=1)], max_bytes=99)
    await keep(jobs, again, 10, writer=1)
    assert await sweep(store, artifacts, tmp_path) == {10, 30}

    await jobs.succeed(again, VERSION)
    assert await sweep(store, artifacts, tmp_path) == set()
    listed = await store.jobs.checkpoints(lease.name, before=None, limit=9)
    assert [(checkpoint.step, checkpoint.stored) for checkpoint in listed] == [
        (10, False),
        (30, False),
        (20, False),
        (10, False),
    ]
    assert await discard_checkpoints(store.jobs, artifacts) == 0


async def test_what_a_later_attempt_makes_once_more_counts_as_its_own(store: Store, tmp_path: Path) -> None:
    artifacts = FileSystemStore.open(tmp_path)
    jobs = queue(store)
    lease = await held(store)
    await keep(jobs, lease, 10, 20)
    await jobs.announce_checkpoint(lease, draft(30))  # its worker was killed before the bytes were there
    await store.jobs.change(lease.name, rules.lose(3))
    await sweep(store, artifacts, tmp_path)

    # It goes on from 20, and its steps are the same ones; so 30 is the same bytes, and those of 10 are made anew.
    again = await held(store)
    for number, step in enumerate((30, 10), start=1):
        made = draft(step)
        await jobs.announce_checkpoint(again, made)
        artifacts.put(PROJECT, [content(step)], max_bytes=99)
        assert step in await sweep(store, artifacts, tmp_path)
        await jobs.append(again, Batch(number=number, events=(CheckpointKept(step, made.size, made.sha256),)))
    await jobs.give_back(again)
    claim = await jobs.claim("another")
    assert claim is not None
    assert [checkpoint.step for checkpoint in claim.checkpoints] == [10, 30]
    assert await sweep(store, artifacts, tmp_path) == {10, 30}


async def test_bytes_that_another_job_begins_to_need_are_not_discarded(store: Store) -> None:
    discarded: list[str] = []

    async def discard() -> None:
        discarded.append("gone")

    jobs = queue(store)
    first = await held(store)
    await keep(jobs, first, 10)
    await queued(store, "twin")
    second = await held(store)
    await jobs.succeed(first, VERSION)
    ((project, checkpoint),) = await store.jobs.discardable(9)
    await jobs.announce_checkpoint(second, draft(10))
    assert not await store.jobs.discard(project, checkpoint, discard)
    assert discarded == []


async def test_who_needs_the_same_bytes_waits_until_they_are_discarded(
    store: Store, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        pytest.skip("in memory nobody waits: steps do not yield")
    order: list[str] = []

    async def discard(_: str = "") -> None:
        await asyncio.sleep(0.2)
        order.append("discarded")

    async def announce(lease: Lease) -> None:
        await asyncio.sleep(0.05)
        await jobs.announce_checkpoint(lease, draft(10))
        order.append("announced")

    jobs = queue(store)
    leases = [await held(store)]
    for twin in ("second", "third"):
        await queued(store, twin)
        leases.append(await held(store))
    await keep(jobs, leases[0], 10)
    await jobs.succeed(leases[0], VERSION)
    ((project, checkpoint),) = await store.jobs.discardable(9)
    await asyncio.gather(store.jobs.discard(project, checkpoint, discard), announce(leases[1]))
    await jobs.succeed(leases[1], VERSION)
    await asyncio.gather(store.jobs.remove(leases[1].name, discard), announce(leases[2]))
    assert order == ["discarded", "announced"] * 2


async def test_the_highest_priority_is_taken_first_then_the_oldest(store: Store) -> None:
    await store.datasets.add(dataset(), nothing)
    for job_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
        await store.jobs.create(job(job_id, priority=priority))
    taken = [(await held(store)).name.training_job for _ in range(4)]
    assert taken == ["high", "first", "second", "low"]
    assert await queue(store).claim("worker") is None


async def test_jobs_beyond_a_projects_limit_wait_and_block_nobody(store: Store) -> None:
    await store.datasets.add(dataset(), nothing)
    await store.datasets.add(dataset(project="other"), nothing)
    for number in range(3):
        await store.jobs.create(job(f"mine-{number}", priority=9))
    await store.jobs.create(job("theirs", project="other"))
    jobs = queue(store, project_limit=2)
    leases = [await held(store, jobs) for _ in range(3)]
    assert [lease.name.training_job for lease in leases] == ["mine-0", "mine-1", "theirs"]
    assert await jobs.claim("worker") is None
    assert (await store.jobs.get(TrainingJobName(PROJECT, "mine-2"))).state is JobState.QUEUED
    # A job that pauses has its worker still; one that is paused has not.
    await store.jobs.change(leases[0].name, rules.pause)
    assert await jobs.claim("worker") is None
    await jobs.confirm_pause(leases[0])
    assert (await held(store, jobs)).name.training_job == "mine-2"


async def test_many_workers_at_once_keep_to_the_limit(store: Store) -> None:
    for _ in range(12):
        await queued(store)
    jobs = queue(store, project_limit=3)
    claims = await asyncio.gather(*(jobs.claim(f"worker-{number}") for number in range(12)))
    assert sum(claim is not None for claim in claims) == 3


async def test_a_paused_job_keeps_its_place_its_progress_and_its_data_set(store: Store) -> None:
    jobs = queue(store)
    lease = await held(store)
    await jobs.append(lease, Batch(number=1, events=(metrics(4),), progress=Progress(step=4)))
    assert (await store.jobs.change(lease.name, rules.pause)).state is JobState.PAUSING
    assert await jobs.heartbeat(lease) is JobState.PAUSING
    await jobs.confirm_pause(lease)
    paused = await store.jobs.get(lease.name)
    assert (paused.state, paused.worker, paused.progress.step) == (JobState.PAUSED, None, 4)
    assert await jobs.recover() == []
    assert await jobs.claim("worker") is None
    with pytest.raises(DomainError, match="has not ended"):
        await store.datasets.remove(paused.dataset)
    await queued(store)
    assert (await store.jobs.change(lease.name, rules.resume)).state is JobState.QUEUED
    again = await jobs.claim("another")
    assert again is not None
    assert (again.lease.name, again.job.progress.step, again.job.losses) == (lease.name, 4, 0)
