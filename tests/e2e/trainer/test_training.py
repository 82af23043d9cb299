"""Real jobs from queue to registry, and every death on the way."""

import asyncio
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason, from_status
from services.common.manifest import AdapterManifest
from tenon.registry.v1 import adapter_pb2
from tenon.trainer.v1 import dataset_pb2, training_job_pb2
from tests.e2e.trainer.platform import PARENT, ROWS, Event, Platform, State, WorkerProcess, jsonl
from tests.support.tiny_bases import make_tiny_base

SHORT = training_job_pb2.Hyperparameters(
    epochs=16, batch_size=1, learning_rate=1e-3, lora_rank=2, lora_alpha=4, max_sequence_length=128, seed=7
)
STEPS = 16 * len(ROWS)
LONG = training_job_pb2.Hyperparameters(epochs=1000, batch_size=1, lora_rank=2, max_sequence_length=128)


@pytest.fixture(scope="module")
async def base(platform: Platform) -> str:
    directory = make_tiny_base(platform.root / "bases" / "tiny")
    return (await platform.add_base("tiny", directory)).name


@pytest.fixture(scope="module")
async def dataset(platform: Platform) -> dataset_pb2.Dataset:
    return await platform.upload(jsonl(ROWS))


def states(events: list[Event]) -> list[int]:
    return [event.state_change.state for event in events if event.HasField("state_change")]


def reason_of(job: training_job_pb2.TrainingJob) -> Reason:
    error = from_status(job.error)
    assert error is not None
    return error.reason


def messages(events: list[Event]) -> str:
    return "\n".join(event.message.text for event in events if event.HasField("message"))


async def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while await running(pid):
            await asyncio.sleep(0.05)


async def test_a_job_ends_with_a_ready_version_though_postgres_goes_away(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    async with platform.worker():
        validation = await platform.upload(
            jsonl([{**row, "output": "Another."} for row in ROWS[:2]]), display_name="held out"
        )
        job = await platform.create(
            base_model=base,
            dataset=dataset.name,
            validation_dataset=validation.name,
            hyperparameters=SHORT,
            labels={"team": "demo"},
        )
        assert job.state == State.STATE_QUEUED
        await platform.first_step(job.name)
        platform.postgres.stop()
        await asyncio.sleep(2)  # longer than the lease: that is the case under test
        platform.postgres.start()
        events = await eventually_events(platform, job.name)

    assert states(events) == [State.STATE_QUEUED, State.STATE_RUNNING, State.STATE_SUCCEEDED]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    steps = [event.metrics for event in events if event.HasField("metrics")]
    assert [step.step for step in steps] == list(range(1, STEPS + 1))
    assert steps[-1].HasField("validation_loss")

    done = await platform.get(job.name)
    assert done.state == State.STATE_SUCCEEDED
    assert (done.progress.step, done.progress.total_steps) == (STEPS, STEPS)
    assert done.progress.loss == steps[-1].loss
    assert done.hyperparameters.lora_rank == 2
    assert done.hyperparameters.HasField("weight_decay")
    assert sorted(done.hyperparameters.target_modules)[:2] == ["down_proj", "gate_proj"]
    assert dict(done.labels) == {"team": "demo"}
    assert done.create_time.ToNanoseconds() < done.start_time.ToNanoseconds() < done.end_time.ToNanoseconds()
    await check_version(platform, done, dataset)
    assert list((platform.root / "cache" / "jobs").iterdir()) == []


async def check_version(platform: Platform, job: training_job_pb2.TrainingJob, dataset: dataset_pb2.Dataset) -> None:
    """Hold what is in the registry against what the job was."""
    resolved = await platform.adapters.ResolveAdapter(
        adapter_pb2.ResolveAdapterRequest(name=f"{PARENT}/adapters/wukong")
    )
    version = resolved.adapter_version
    assert version.name == job.adapter_version
    assert version.state == adapter_pb2.AdapterVersion.STATE_READY
    assert version.training_job == job.name
    manifest = AdapterManifest.from_bytes(version.manifest)
    assert [file.path for file in manifest.files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert manifest.files[1].header_sha256 is not None
    assert manifest.base["id"] == job.base_fingerprint_id
    assert manifest.training["dataset"]["sha256"] == dataset.sha256
    assert manifest.training["seed"] == 7
    assert manifest.training["steps"] == STEPS
    assert set(manifest.training["library_versions"]) >= {"torch", "peft", "transformers"}
    config = json.loads(blob(platform, manifest.files[0].sha256).read_bytes())
    assert (config["peft_type"], config["r"]) == ("LORA", 2)


def blob(platform: Platform, digest: str) -> Path:
    return platform.root / "artifacts" / "projects" / "default" / "blobs" / "sha256" / digest[:2] / digest


async def eventually_events(platform: Platform, name: str) -> list[Event]:
    """Follow a job although the database may be away for a while, as a client does."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await platform.events(name)
            except DomainError as error:
                if error.reason is not Reason.DATABASE_UNAVAILABLE:
                    raise
                await asyncio.sleep(0.2)


async def test_a_job_given_back_is_taken_up_again_and_can_be_cancelled(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    job = await platform.create(base_model=base, dataset=dataset.name, hyperparameters=LONG)
    async with platform.worker() as first:
        step = await platform.first_step(job.name)
        recipe = first.recipe()
        await first.stop(signal.SIGTERM)
        await gone(recipe)
    assert first.process.returncode == 0
    queued = await platform.get(job.name)
    assert (queued.state, queued.attempt) == (State.STATE_QUEUED, 1)

    async with platform.worker() as second:
        again = await platform.first_step(job.name, after=(await last_sequence(platform, job.name)))
        assert again.metrics.step < step.metrics.step + 1000
        recipe = second.recipe()
        asked = asyncio.get_running_loop().time()
        assert (await platform.cancel(job.name)).state == State.STATE_CANCELLING
        events = await platform.events(job.name)
        assert asyncio.get_running_loop().time() - asked < 5
        await gone(recipe)
    assert states(events) == [
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_CANCELLING,
        State.STATE_CANCELLED,
    ]
    assert "is shutting down" in messages(events)
    assert (await platform.get(job.name)).attempt == 2


async def last_sequence(platform: Platform, name: str) -> int:
    request = training_job_pb2.ListTrainingJobEventsRequest(parent=name, page_size=1, descending=True)
    return (await platform.jobs.ListTrainingJobEvents(request)).events[0].sequence


async def test_another_worker_takes_over_from_one_that_was_killed(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    job = await platform.create(base_model=base, dataset=dataset.name, hyperparameters=SHORT)
    async with platform.worker() as first:
        await platform.first_step(job.name)
        recipe = first.recipe()
        first.process.kill()
        # The recipe dies with its worker, so two of them never train at once.
        await gone(recipe)
    async with platform.worker():
        events = await platform.events(job.name)
    done = await platform.get(job.name)
    assert (done.state, done.attempt) == (State.STATE_SUCCEEDED, 2)
    assert states(events) == [
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_QUEUED,
        State.STATE_RUNNING,
        State.STATE_SUCCEEDED,
    ]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert "was lost" in messages(events)
    assert [event.metrics.step for event in events if event.HasField("metrics")] == list(range(1, STEPS + 1))
    assert list((platform.root / "cache" / "jobs").iterdir()) == []


@pytest.mark.proof
async def test_a_worker_that_slept_through_its_lease_stops_its_training(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    job = await platform.create(base_model=base, dataset=dataset.name, hyperparameters=SHORT)
    async with platform.worker() as sleeper:
        await platform.first_step(job.name)
        recipe = sleeper.recipe()
        sleeper.process.send_signal(signal.SIGSTOP)
        os.kill(recipe, signal.SIGSTOP)
        async with platform.worker():
            events = await platform.events(job.name)
            done = await platform.get(job.name)
            sleeper.process.send_signal(signal.SIGCONT)
            os.kill(recipe, signal.SIGCONT)
            await gone(recipe)
    assert (done.state, done.attempt) == (State.STATE_SUCCEEDED, 2)
    assert "was lost" in messages(events)
    assert await platform.get(job.name) == done
    assert len(await platform.events(job.name)) == len(events)
    assert sleeper.process.returncode == 0


async def test_a_recipe_that_is_killed_again_and_again_fails_the_job_and_says_how(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    async with platform.worker(TENON_JOB_MAX_ATTEMPTS="2") as worker:
        job = await platform.create(base_model=base, dataset=dataset.name, hyperparameters=LONG)
        await platform.first_step(job.name)
        first = worker.recipe()
        os.kill(first, signal.SIGKILL)
        await platform.eventually(job.name, lambda job: job.attempt == 2)
        os.kill(await worker.another_recipe(first), signal.SIGKILL)
        events = await platform.events(job.name)
    assert "The training process was ended by SIGKILL. The job goes on from" in messages(events)
    failed = await platform.get(job.name)
    assert failed.state == State.STATE_FAILED
    error = from_status(failed.error)
    assert error is not None
    assert error.reason is Reason.TRAINING_CRASHED
    assert error.metadata == {"signal": "SIGKILL"}
    assert events[-1].state_change.error == failed.error


@pytest.mark.usefixtures("base")
async def test_a_base_that_vanished_or_changed_fails_the_job(platform: Platform, dataset: dataset_pb2.Dataset) -> None:
    vanished = make_tiny_base(platform.root / "bases" / "vanished", seed=1)
    changed = make_tiny_base(platform.root / "bases" / "changed", seed=2)
    names = [(await platform.add_base(path.name, path)).name for path in (vanished, changed)]
    shutil.rmtree(vanished)
    shutil.copy(platform.root / "bases" / "tiny" / "model.safetensors", changed / "model.safetensors")
    jobs = [await platform.create(base_model=name, dataset=dataset.name, hyperparameters=SHORT) for name in names]
    async with platform.worker():
        for job in jobs:
            await platform.events(job.name)
    ended = [await platform.get(job.name) for job in jobs]
    assert [job.state for job in ended] == [State.STATE_FAILED, State.STATE_FAILED]
    assert [reason_of(job) for job in ended] == [Reason.BASE_SOURCE_UNAVAILABLE, Reason.BASE_FINGERPRINT_MISMATCH]


@pytest.mark.parametrize("content", [None, "no key at all"], ids=["missing", "malformed"])
async def test_a_worker_without_a_key_says_so_and_ends(platform: Platform, tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "signing.pem"
    if content is not None:
        key.write_text(content)
    with pytest.raises(
        AssertionError, match=r"tenon-trainer-worker: The key file .*signing\.pem cannot be used"
    ) as ended:
        await WorkerProcess.start(replace(platform, signing_key_file=key))
    assert "Traceback" not in str(ended.value)
    assert "no key at all" not in str(ended.value)
