"""Pausing, resuming and cancelling real jobs, wherever they are, and what becomes of their checkpoints."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from services.common.errors import DomainError, Reason, from_status
from tenon.trainer.v1 import training_job_pb2
from tests.e2e.trainer.platform import PARENT, ROWS, Event, Platform, State, WorkerProcess, jsonl
from tests.support.tiny_bases import make_tiny_base

PLAN = training_job_pb2.Hyperparameters(
    epochs=40, batch_size=1, learning_rate=1e-3, lora_rank=2, max_sequence_length=128, seed=7
)
STEPS = 40 * len(ROWS)
ENDLESS = training_job_pb2.Hyperparameters(epochs=1000, batch_size=1, lora_rank=2, max_sequence_length=128)
CANCEL_SECONDS = 2.0

Condition = Callable[[training_job_pb2.TrainingJob], bool]


@pytest.fixture(scope="module")
async def material(platform: Platform) -> dict[str, str]:
    base = await platform.add_base("tiny", make_tiny_base(platform.root / "bases" / "tiny"))
    return {"base_model": base.name, "dataset": (await platform.upload(jsonl(ROWS))).name}


async def pause(platform: Platform, name: str, request_id: str = "") -> training_job_pb2.TrainingJob:
    request = training_job_pb2.PauseTrainingJobRequest(name=name, request_id=request_id)
    return (await platform.jobs.PauseTrainingJob(request)).training_job


async def resume(platform: Platform, name: str) -> training_job_pb2.TrainingJob:
    request = training_job_pb2.ResumeTrainingJobRequest(name=name)
    return (await platform.jobs.ResumeTrainingJob(request)).training_job


async def checkpoints(platform: Platform, name: str) -> list[training_job_pb2.TrainingJobCheckpoint]:
    request = training_job_pb2.ListTrainingJobCheckpointsRequest(parent=name)
    return list((await platform.jobs.ListTrainingJobCheckpoints(request)).checkpoints)


def has_state(state: int) -> Condition:
    return lambda job: job.state == state


def steps(events: list[Event]) -> list[tuple[int, float]]:
    return [(event.metrics.step, event.metrics.loss) for event in events if event.HasField("metrics")]


def states(events: list[Event]) -> list[int]:
    return [event.state_change.state for event in events if event.HasField("state_change")]


async def test_a_job_that_paused_goes_on_where_it_was(platform: Platform, material: dict[str, str]) -> None:
    # That it ends as an undisturbed one does, to the bit, test_kills.py shows.
    async with platform.worker() as worker:
        job = await platform.create(**material, hyperparameters=PLAN)
        await platform.first_step(job.name)
        request_id = str(uuid4())
        asked = await pause(platform, job.name, request_id)
        assert asked.state == State.STATE_PAUSING
        paused = await platform.eventually(job.name, has_state(State.STATE_PAUSED))
        with pytest.raises(ValueError, match="unpack"):
            worker.recipe()
        assert 0 < paused.progress.step < STEPS
        # Asking again changes nothing, and the same request is answered as it was.
        assert await pause(platform, job.name) == paused
        assert await pause(platform, job.name, request_id) == asked
        (kept,) = await checkpoints(platform, job.name)
        assert (kept.step, kept.stored, kept.metrics.step) == (paused.progress.step, True, kept.step)
        assert kept.size_bytes > 0
        assert kept.metrics.memory_bytes > 50_000_000

        assert (await resume(platform, job.name)).state == State.STATE_QUEUED
        events = await platform.events(job.name)

    assert [step for step, _ in steps(events)] == list(range(1, STEPS + 1))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert states(events) == [
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_PAUSING,
        State.STATE_PAUSED,
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_SUCCEEDED,
    ]
    assert [
        (event.checkpoint.step, event.checkpoint.size_bytes) for event in events if event.HasField("checkpoint")
    ] == [(kept.step, kept.size_bytes)]
    for ask in (pause, resume):
        with pytest.raises(DomainError) as refused:
            await ask(platform, job.name)
        assert refused.value.reason is Reason.TRAINING_JOB_WRONG_STATE
        assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.proof
async def test_a_worker_that_ends_leaves_a_checkpoint_and_a_damaged_one_is_not_used(
    platform: Platform, material: dict[str, str]
) -> None:
    job = await platform.create(**material, hyperparameters=ENDLESS)
    async with platform.worker(TENON_CHECKPOINT_STEPS="50") as first:
        await platform.eventually(job.name, lambda job: job.progress.step > 60)
        await first.stop()
    queued = await platform.get(job.name)
    found = await checkpoints(platform, job.name)
    assert found[0].step == queued.progress.step
    assert found[1].step % 50 == 0

    blobs = platform.root / "artifacts" / "projects" / "default" / "blobs"
    newest = max(blobs.rglob("sha256/*/*"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.stat().st_size == found[0].size_bytes
    newest.chmod(0o600)
    newest.write_bytes(b"x" * found[0].size_bytes)
    async with platform.worker():
        await platform.eventually(job.name, lambda job: job.progress.step > queued.progress.step)
        await platform.cancel(job.name)
        events = await platform.events(job.name)
    told = [event.message.text for event in events if event.HasField("message")]
    assert f"The checkpoint after step {found[0].step} is not used: ARTIFACT_CORRUPT." in "\n".join(told)
    assert f"Training goes on after step {found[1].step}." in told
    numbers = [step for step, _ in steps(events)]
    assert numbers == list(range(1, len(numbers) + 1))


async def cancelled_within(platform: Platform, name: str) -> float:
    began = time.monotonic()
    await platform.cancel(name)
    await platform.eventually(name, has_state(State.STATE_CANCELLED))
    return time.monotonic() - began


async def in_a_long_step(platform: Platform, material: dict[str, str], _worker: WorkerProcess) -> str:
    # Of thousands of rows, a step takes many seconds.
    plan = training_job_pb2.Hyperparameters(epochs=1000, batch_size=4096, max_sequence_length=128)
    job = await platform.create(**material, hyperparameters=plan)
    await platform.eventually(job.name, lambda job: job.progress.total_steps > 0)
    await asyncio.sleep(0.5)
    assert (await platform.get(job.name)).progress.step == 0
    return job.name


async def while_loading(platform: Platform, material: dict[str, str], worker: WorkerProcess) -> str:
    job = await platform.create(**material, hyperparameters=ENDLESS)
    await worker.another_recipe(0)
    return job.name


async def while_training(platform: Platform, material: dict[str, str], _worker: WorkerProcess) -> str:
    job = await platform.create(**material, hyperparameters=ENDLESS)
    await platform.first_step(job.name)
    return job.name


async def while_pausing(platform: Platform, material: dict[str, str], _worker: WorkerProcess) -> str:
    job = await platform.create(**material, hyperparameters=ENDLESS)
    await platform.first_step(job.name)
    await pause(platform, job.name)
    return job.name


Place = Callable[[Platform, dict[str, str], WorkerProcess], Awaitable[str]]


@pytest.mark.parametrize(
    "place",
    [
        in_a_long_step,
        pytest.param(while_loading, marks=pytest.mark.proof),
        pytest.param(while_training, marks=pytest.mark.proof),
        pytest.param(while_pausing, marks=pytest.mark.proof),
    ],
)
async def test_a_job_is_cancelled_within_two_seconds(
    platform: Platform, material: dict[str, str], place: Place
) -> None:
    async with platform.worker() as worker:
        name = await place(platform, material, worker)
        seconds = await cancelled_within(platform, name)
        await nothing_runs(worker)
    print(f"cancelled {place.__name__} after {seconds:.2f} s")
    assert seconds < CANCEL_SECONDS


async def test_a_job_that_publishes_is_cancelled_within_two_seconds(
    platform: Platform, material: dict[str, str]
) -> None:
    async with platform.worker() as worker:
        job = await platform.create(**material, hyperparameters=PLAN)
        await platform.first_step(job.name)
        with artifacts_away(platform.root):
            await told(platform, job.name, "has to wait (ARTIFACT_STORE_UNAVAILABLE)")
            seconds = await cancelled_within(platform, job.name)
        await nothing_runs(worker)
    print(f"cancelled while publishing after {seconds:.2f} s")
    assert seconds < CANCEL_SECONDS


async def test_a_paused_job_is_cancelled_at_once(platform: Platform, material: dict[str, str]) -> None:
    job = await platform.create(**material, hyperparameters=ENDLESS)
    assert (await pause(platform, job.name)).state == State.STATE_PAUSED
    assert (await platform.cancel(job.name)).state == State.STATE_CANCELLED


class artifacts_away:  # noqa: N801 - used as a function
    """The store's directory has another name for a while."""

    def __init__(self, root: Path) -> None:
        self._there, self._away = root / "artifacts", root / "away"

    def __enter__(self) -> None:
        self._there.rename(self._away)

    def __exit__(self, *_: object) -> None:
        self._away.rename(self._there)


async def told(platform: Platform, name: str, text: str) -> None:
    async for response in platform.watch(name):
        if text in response.event.message.text:
            return
    raise AssertionError(await platform.events(name))


async def nothing_runs(worker: WorkerProcess) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                worker.recipe()
            except ValueError:
                return
            await asyncio.sleep(0.02)


@pytest.mark.proof
async def test_a_job_that_is_paused_while_it_loads_or_resumed_while_it_pauses(
    platform: Platform, material: dict[str, str]
) -> None:
    async with platform.worker() as worker:
        job = await platform.create(**material, hyperparameters=PLAN)
        await worker.another_recipe(0)
        await pause(platform, job.name)
        paused = await platform.eventually(job.name, has_state(State.STATE_PAUSED))
        assert (paused.progress.step, await checkpoints(platform, job.name)) == (0, [])
        await resume(platform, job.name)
        await platform.first_step(job.name)
        await pause(platform, job.name)
        again = await resume(platform, job.name)
        assert again.state in {State.STATE_RUNNING, State.STATE_QUEUED}
        events = await platform.events(job.name)
    assert [step for step, _ in steps(events)] == list(range(1, STEPS + 1))
    assert states(events)[-1] == State.STATE_SUCCEEDED


async def test_a_loss_that_is_no_number_fails_the_job_whose_row_and_events_remain(platform: Platform) -> None:
    directory = make_tiny_base(platform.root / "bases" / "broken", "llama", tied=False)
    weights = load_file(directory / "model.safetensors")
    (letter,) = Tokenizer.from_file(str(directory / "tokenizer.json")).encode("Z").ids
    weights["model.embed_tokens.weight"][letter] = math.nan
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    rows = [*ROWS, {**ROWS[0], "input": "Z"}]
    base, dataset = await platform.add_base("broken", directory), await platform.upload(jsonl(rows))
    async with platform.worker(TENON_CHECKPOINT_STEPS="1"):
        job = await platform.create(base_model=base.name, dataset=dataset.name, hyperparameters=PLAN)
        events = await platform.events(job.name)
    failed = await platform.get(job.name)
    error = from_status(failed.error)
    assert error is not None
    assert (failed.state, error.reason) == (State.STATE_FAILED, Reason.TRAINING_DIVERGED)
    assert error.metadata["loss"] == "nan"
    assert len(steps(events)) == int(error.metadata["step"]) - 1
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_a_pause_or_a_priority_that_cannot_be_is_refused(platform: Platform, material: dict[str, str]) -> None:
    name = f"{PARENT}/trainingJobs/none"
    for call in (pause(platform, name), resume(platform, name), checkpoints(platform, name)):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason is Reason.TRAINING_JOB_NOT_FOUND
    with pytest.raises(DomainError) as refused:
        await platform.create(**material, priority=1001)
    assert [violation.field for violation in refused.value.violations] == ["training_job.priority"]
