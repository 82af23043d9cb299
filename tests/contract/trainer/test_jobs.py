from dataclasses import replace
from uuid import uuid4

import pytest

from services.common.errors import DomainError, Reason
from services.common.idempotency import request_key
from services.common.resource_names import TrainingJobName
from services.trainer.jobs import rules
from services.trainer.jobs.rules import Change
from services.trainer.model import (
    CheckpointKept,
    Hyperparameters,
    JobError,
    JobFilter,
    JobMessage,
    JobState,
    Progress,
    StateChange,
    StepMetrics,
)
from services.trainer.model import TrainingJob as Job
from services.trainer.recipe.protocol import Level, Schedule
from services.trainer.servicers.once import Once
from services.trainer.storage.store import Store
from tenon.trainer.v1.training_job_pb2 import CreateTrainingJobRequest, CreateTrainingJobResponse, TrainingJob
from tests.contract.trainer.samples import PROJECT, dataset, job, nothing, queued

METRICS = StepMetrics(
    step=1,
    total_steps=9,
    loss=2.5,
    learning_rate=1e-3,
    gradient_norm=0.7,
    tokens_per_second=120.0,
    epoch=0.1,
    trained_tokens=64,
    validation_loss=2.75,
)


async def test_keeps_what_was_created_and_its_first_event(store: Store) -> None:
    created = await queued(store, "first")
    assert created.create_time is not None
    assert created.start_time is created.end_time is None
    assert replace(created, create_time=None, position=0, last_sequence=0) == job("first")
    assert await store.jobs.get(created.name) == created
    events = await store.jobs.events(created.name, after=0, limit=9)
    assert [(event.sequence, event.body) for event in events] == [(1, StateChange(JobState.QUEUED))]
    assert created.last_sequence == 1


async def test_an_id_is_taken_once(store: Store) -> None:
    await queued(store, "taken")
    with pytest.raises(DomainError) as raised:
        await store.jobs.create(job("taken"))
    assert raised.value.reason is Reason.TRAINING_JOB_EXISTS
    await store.datasets.add(dataset(project="other"), nothing)
    assert (await store.jobs.create(job("taken", project="other"))).name.project == "other"


async def test_an_unknown_job_is_not_found_and_has_no_events(store: Store) -> None:
    name = TrainingJobName(PROJECT, "none")
    for call in (store.jobs.get(name), store.jobs.change(name, rules.cancel), store.jobs.manifest(name)):
        with pytest.raises(DomainError) as raised:
            await call
        assert raised.value.reason is Reason.TRAINING_JOB_NOT_FOUND
    assert await store.jobs.events(name, after=0, limit=9) == []


async def test_pages_newest_first_within_a_project(store: Store) -> None:
    for number in range(5):
        await queued(store, f"j{number}")
    first = await store.jobs.page(JobFilter(PROJECT), before=None, limit=3)
    rest = await store.jobs.page(JobFilter(PROJECT), before=first[-1].position, limit=3)
    assert [j.name.training_job for j in (*first, *rest)] == ["j4", "j3", "j2", "j1", "j0"]
    assert await store.jobs.page(JobFilter("other"), before=None, limit=3) == []


async def test_every_field_a_rule_changes_is_kept(store: Store) -> None:
    created = await queued(store)
    complete = Hyperparameters(
        epochs=3,
        batch_size=4,
        learning_rate=0.5,
        warmup_ratio=0.1,
        schedule=Schedule.CONSTANT,
        lora_rank=8,
        lora_alpha=16.0,
        target_modules=("q_proj", "v_proj"),
        max_sequence_length=512,
        seed=2**53 - 1,
        weight_decay=0.01,
        max_gradient_norm=0.5,
        early_stopping_patience=3,
        use_rslora=True,
        use_dora=False,
        rank_pattern={"q_proj": 4},
        alpha_pattern={"layers.0.*.v_proj": 0.5},
        modules_to_save=("lm_head",),
    )
    running = replace(
        created,
        state=JobState.RUNNING,
        worker="w",
        attempt=1,
        losses=1,
        epoch=7,
        batch=3,
        revision=2,
        hyperparameters=complete,
        progress=Progress(step=3, total_steps=9, loss=1.5, trained_tokens=2**40),
    )
    kept = await store.jobs.change(created.name, lambda _job: Change(running, lease_seconds=9, manifest=b"{}"))
    assert kept.start_time is not None
    assert replace(kept, start_time=None) == running
    assert await store.jobs.get(created.name) == kept
    assert await store.jobs.manifest(created.name) == b"{}"
    error = JobError(Reason.TRAINING_CRASHED, "It was killed.", {"signal": "SIGKILL"})
    failed = replace(kept, state=JobState.FAILED, worker=None, error=error)
    ended = await store.jobs.change(created.name, lambda _job: Change(failed))
    assert ended.end_time is not None
    assert replace(ended, end_time=None) == failed
    assert await store.jobs.manifest(created.name) == b"{}"


async def test_every_kind_of_event_is_kept_in_order(store: Store) -> None:
    created = await queued(store)
    error = JobError(Reason.NOTHING_TO_LEARN, "No labels.", {"rows": "3"})
    bodies = (
        METRICS,
        replace(METRICS, validation_loss=None),
        JobMessage(Level.WARNING, "Long rows were cut. 长行"),
        CheckpointKept(1, 999, "ab" * 32),
        StateChange(JobState.FAILED, error),
    )
    await store.jobs.change(created.name, lambda j: Change(j, bodies[:1]))
    await store.jobs.change(created.name, lambda j: Change(j, bodies[1:]))
    events = await store.jobs.events(created.name, after=1, limit=9)
    assert [(event.sequence, event.body) for event in events] == list(enumerate(bodies, start=2))
    assert events[-1].final
    assert [e.sequence for e in await store.jobs.events(created.name, after=2, limit=2)] == [3, 4]
    backwards = await store.jobs.events(created.name, after=0, limit=3, descending=True)
    assert [event.sequence for event in backwards] == [6, 5, 4]
    rest = await store.jobs.events(created.name, after=3, limit=3, descending=True)
    assert [event.sequence for event in rest] == [2, 1]


async def test_a_rule_that_raises_changes_nothing(store: Store) -> None:
    created = await queued(store)

    def refuse(_job: Job) -> Change:
        raise DomainError(Reason.LEASE_LOST, "not yours")

    with pytest.raises(DomainError, match="not yours"):
        await store.jobs.change(created.name, refuse)
    assert await store.jobs.get(created.name) == created


async def test_a_repeated_call_gets_the_first_answer(store: Store) -> None:
    await store.datasets.add(dataset(), nothing)
    request = CreateTrainingJobRequest(parent=f"projects/{PROJECT}", request_id=str(uuid4()))

    async def create(job_id: str) -> str:
        once: Once[Job, CreateTrainingJobResponse] = Once(
            request_key(PROJECT, request), CreateTrainingJobResponse, _answer
        )
        async with store.transaction() as transaction:
            answer = await once.answer(transaction.requests, lambda: transaction.jobs.create(job(job_id)))
        return answer.training_job.name

    assert await create("one") == await create("two") == str(TrainingJobName(PROJECT, "one"))
    assert len(await store.jobs.page(JobFilter(PROJECT), before=None, limit=9)) == 1
    request.training_job_id = "another"
    with pytest.raises(DomainError) as raised:
        await create("three")
    assert raised.value.reason is Reason.REQUEST_ID_REUSED


def _answer(created: Job) -> CreateTrainingJobResponse:
    return CreateTrainingJobResponse(training_job=TrainingJob(name=str(created.name)))
