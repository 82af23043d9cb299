import asyncio
from dataclasses import replace

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterVersionName
from services.trainer.jobs import rules
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import (
    Batch,
    CheckpointDraft,
    Claim,
    JobError,
    JobMessage,
    JobState,
    Lease,
    Progress,
    StateChange,
)
from services.trainer.recipe.protocol import Level
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import PROJECT, dataset, job, nothing, queue, queued
from tests.contract.trainer.test_jobs import METRICS

DRAFT = CheckpointDraft(step=1, sha256="ab" * 32, size=9, metrics=METRICS)
VERSION = AdapterVersionName(PROJECT, "wukong", "ef" * 32)


async def claimed(jobs: JobQueue, worker: str = "worker-a") -> Claim:
    claim = await jobs.claim(worker)
    assert claim is not None
    return claim


async def expired(jobs: JobQueue) -> None:
    """Wait until a lease of a tenth of a second has run out and was taken away."""
    async with asyncio.timeout(10):
        while not await jobs.recover():
            await asyncio.sleep(0.02)


async def states(store: Store, lease: Lease) -> list[JobState]:
    events = await store.jobs.events(lease.name, after=0, limit=999)
    return [event.body.state for event in events if isinstance(event.body, StateChange)]


async def test_an_empty_queue_gives_nothing(store: Store) -> None:
    assert await queue(store).claim("worker-a") is None


async def test_a_claim_has_all_that_a_worker_needs(store: Store) -> None:
    await store.datasets.add(dataset("rows"), nothing)
    validation = await store.datasets.add(dataset("held-out"), nothing)
    await store.jobs.create(job(validation="held-out"))
    claim = await claimed(queue(store))
    assert claim.dataset.name.dataset == "rows"
    assert claim.validation_dataset == validation
    assert claim.manifest is None
    assert (claim.job.state, claim.job.worker, claim.job.attempt) == (JobState.RUNNING, "worker-a", 1)
    assert claim.job.start_time is not None


async def test_jobs_are_taken_in_order_of_creation(store: Store) -> None:
    created = [await queued(store) for _ in range(3)]
    assert [(await claimed(queue(store))).lease.name for _ in range(3)] == [j.name for j in created]


async def test_eight_workers_share_jobs_without_sharing_any(store: Store) -> None:
    created = {(await queued(store)).name for _ in range(12)}
    jobs = queue(store)
    taken: list[Lease] = []

    async def work(worker: str) -> None:
        # A job that another worker is just taking is passed over, so one empty answer is not yet the end.
        while len(taken) < len(created):
            if claim := await jobs.claim(worker):
                taken.append(claim.lease)

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(f"worker-{number}") for number in range(8)))
    assert len(taken) == 12
    assert {lease.name for lease in taken} == created


async def test_heartbeats_keep_a_job(store: Store) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.3)
    claim = await claimed(jobs)
    for _ in range(8):
        await asyncio.sleep(0.1)
        assert await jobs.heartbeat(claim.lease) is JobState.RUNNING
        assert await jobs.recover() == []


async def test_a_silent_workers_job_goes_to_another_one(store: Store) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.1)
    lost = await claimed(jobs)
    await jobs.append(lost.lease, Batch(number=1, events=(METRICS,), progress=Progress(step=1)))
    await expired(jobs)
    second = await claimed(jobs, "worker-b")
    assert (second.job.attempt, second.job.losses, second.job.worker) == (2, 1, "worker-b")
    assert second.job.progress == Progress(step=1)
    assert second.job.start_time == lost.job.start_time
    events = await store.jobs.events(second.lease.name, after=0, limit=99)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    bodies = [event.body for event in events]
    assert bodies[1:3] == [StateChange(JobState.RUNNING), METRICS]
    assert isinstance(bodies[3], JobMessage)
    assert "worker-a was lost" in bodies[3].text
    assert bodies[4:] == [StateChange(JobState.QUEUED), StateChange(JobState.RUNNING)]


async def test_nothing_a_lost_worker_writes_is_kept(store: Store) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.1)
    lost = (await claimed(jobs)).lease
    await expired(jobs)
    second = await claimed(jobs, "worker-b")
    before = await store.jobs.get(lost.name)
    for write in (
        jobs.heartbeat(lost),
        jobs.append(lost, Batch(number=1, events=(METRICS,))),
        jobs.keep_manifest(lost, b"{}"),
        jobs.succeed(lost, VERSION),
        jobs.fail(lost, JobError(Reason.INTERNAL, "late")),
        jobs.confirm_cancellation(lost),
        jobs.give_back(lost),
        jobs.confirm_pause(lost),
        jobs.crash(lost, JobError(Reason.TRAINING_CRASHED, "late")),
        jobs.announce_checkpoint(lost, DRAFT),
    ):
        with pytest.raises(DomainError) as raised:
            await write
        assert raised.value.reason is Reason.LEASE_LOST
    assert await store.jobs.get(lost.name) == before
    assert await store.jobs.manifest(lost.name) is None
    await jobs.heartbeat(second.lease)


async def test_a_job_that_loses_every_worker_fails(store: Store) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.1, max_losses=3)
    for attempt in (1, 2, 3):
        claim = await claimed(jobs, f"worker-{attempt}")
        assert claim.job.attempt == attempt
        await expired(jobs)
    failed = await store.jobs.get(claim.lease.name)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.reason is Reason.TRAINING_CRASHED
    assert "worker-3" in failed.error.message
    assert await jobs.claim("worker-4") is None
    assert (await states(store, claim.lease))[-1] is JobState.FAILED


async def test_a_job_given_back_is_taken_at_once_and_is_no_loss(store: Store) -> None:
    await queued(store)
    await queued(store)
    jobs = queue(store, max_losses=1)
    first = await claimed(jobs)
    await jobs.give_back(first.lease)
    again = await claimed(jobs, "worker-b")
    assert again.lease.name == first.lease.name
    assert (again.job.attempt, again.job.losses) == (2, 0)


async def test_a_queued_job_is_cancelled_at_once(store: Store) -> None:
    created = await queued(store)
    cancelled = await store.jobs.change(created.name, rules.cancel)
    assert cancelled.state is JobState.CANCELLED
    assert cancelled.end_time is not None
    assert await queue(store).claim("worker-a") is None
    assert await store.jobs.change(created.name, rules.cancel) == cancelled


async def test_a_running_job_is_cancelled_by_its_worker(store: Store) -> None:
    await queued(store)
    jobs = queue(store)
    lease = (await claimed(jobs)).lease
    assert (await store.jobs.change(lease.name, rules.cancel)).state is JobState.CANCELLING
    assert await jobs.heartbeat(lease) is JobState.CANCELLING
    await jobs.append(lease, Batch(number=1, events=(METRICS,)))
    await jobs.confirm_cancellation(lease)
    assert await states(store, lease) == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.CANCELLING,
        JobState.CANCELLED,
    ]


@pytest.mark.parametrize("end", ["lost", "given back"])
async def test_a_job_being_cancelled_does_not_start_again(store: Store, end: str) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.1)
    lease = (await claimed(jobs)).lease
    await store.jobs.change(lease.name, rules.cancel)
    await (expired(jobs) if end == "lost" else jobs.give_back(lease))
    assert (await store.jobs.get(lease.name)).state is JobState.CANCELLED


async def test_success_beats_a_late_cancellation(store: Store) -> None:
    await queued(store)
    jobs = queue(store)
    lease = (await claimed(jobs)).lease
    await store.jobs.change(lease.name, rules.cancel)
    await jobs.succeed(lease, VERSION)
    ended = await store.jobs.get(lease.name)
    assert (ended.state, ended.adapter_version, ended.worker) == (JobState.SUCCEEDED, VERSION, None)
    assert await store.jobs.change(lease.name, rules.cancel) == ended


async def test_writing_again_after_a_lost_answer_writes_once(store: Store) -> None:
    await queued(store)
    jobs = queue(store)
    lease = (await claimed(jobs)).lease
    batch = Batch(number=1, events=(METRICS,), progress=Progress(step=1))
    for _ in range(2):
        await jobs.append(lease, batch)
    for _ in range(2):
        await jobs.fail(lease, JobError(Reason.NOTHING_TO_LEARN, "No labels."))
    events = await store.jobs.events(lease.name, after=2, limit=9)
    assert [type(event.body) for event in events] == [type(METRICS), StateChange]
    with pytest.raises(DomainError, match="over"):
        await jobs.succeed(lease, VERSION)


async def test_the_manifest_outlives_its_worker(store: Store) -> None:
    await queued(store)
    jobs = queue(store, lease_seconds=0.1)
    await jobs.keep_manifest((await claimed(jobs)).lease, b'{"a":1}')
    await expired(jobs)
    second = await claimed(jobs)
    assert second.manifest == b'{"a":1}'
    await jobs.keep_manifest(second.lease, b'{"a":2}')
    assert await store.jobs.manifest(second.lease.name) == b'{"a":2}'


async def test_events_of_many_writers_are_numbered_without_gaps(store: Store) -> None:
    await queued(store)
    jobs = queue(store)
    lease = (await claimed(jobs)).lease

    async def write(writer: int) -> None:
        note = JobMessage(Level.INFO, f"writer {writer}")
        for _ in range(5):
            await store.jobs.change(lease.name, lambda j: rules.Change(j, (note, note)))

    await asyncio.gather(*(write(number) for number in range(8)))
    events = await store.jobs.events(lease.name, after=0, limit=999)
    assert [event.sequence for event in events] == list(range(1, 83))
    assert (await store.jobs.get(lease.name)).last_sequence == 82
    pairs = zip(events[2::2], events[3::2], strict=True)
    assert all(first.body == second.body for first, second in pairs)


async def test_hyperparameters_chosen_by_the_recipe_are_shown(store: Store) -> None:
    created = await queued(store)
    jobs = queue(store)
    lease = (await claimed(jobs)).lease
    chosen = replace(created.hyperparameters, lora_rank=8, seed=42)
    await jobs.append(lease, Batch(number=1, events=(), hyperparameters=chosen, progress=Progress(total_steps=9)))
    await jobs.append(lease, Batch(number=2, events=(METRICS,)))
    kept = await store.jobs.get(lease.name)
    assert (kept.hyperparameters, kept.progress.total_steps) == (chosen, 9)
