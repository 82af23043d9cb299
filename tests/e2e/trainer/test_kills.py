"""SIGKILL at random moments of a job: it ends as if nothing had been, no event is lost or doubled, one version is made."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from services.common.manifest import AdapterManifest
from tenon.registry.v1 import adapter_pb2
from tenon.trainer.v1 import training_job_pb2
from tests.e2e.trainer.killable import World, running_world
from tests.e2e.trainer.platform import PARENT, Event, State, jsonl
from tests.support.tiny_bases import make_tiny_base

ROWS = [{"prompt": f"{n} and {n + 1}, what is it together?", "completion": f"{2 * n + 1} it is."} for n in range(24)]
PLAN = training_job_pb2.Hyperparameters(
    epochs=200, batch_size=8, learning_rate=1e-3, lora_rank=4, max_sequence_length=128, seed=7
)
STEPS = 600
SEED = 20
KILLS = 10
KILLS_IN_A_JOB = 2


@dataclass(frozen=True)
class Ended:
    """A job that has ended, as its client saw it."""

    losses: list[float]
    events: list[Event]
    adapter: str
    job: training_job_pb2.TrainingJob
    seconds: float
    kills: int


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("kills")) as world:
        yield world


@pytest.fixture(scope="module")
async def material(world: World) -> tuple[str, str]:
    base = await world.platform.add_base("tiny", make_tiny_base(world.platform.root / "base"))
    return base.name, (await world.platform.upload(jsonl(ROWS))).name


@pytest.fixture(scope="module")
async def undisturbed(world: World, material: tuple[str, str]) -> Ended:
    ended = await run(world, material, "undisturbed")
    assert ended.job.attempt == 1
    assert len(ended.losses) == STEPS
    return ended


async def run(world: World, material: tuple[str, str], adapter: str, kills: Sequence[tuple[str, float]] = ()) -> Ended:
    """Run a job, and kill what is named after so many seconds, or once a step (an integer) was seen."""
    began, told = time.monotonic(), list[Event]()
    base, dataset = material
    job = await world.platform.create(
        base_model=base, dataset=dataset, hyperparameters=PLAN, adapter=f"{PARENT}/adapters/{adapter}"
    )
    following, killed = asyncio.create_task(world.follow(job.name, told)), 0
    for target, moment in kills:
        if isinstance(moment, int):
            while not any(event.metrics.step >= moment for event in told):
                await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        while not following.done() and not await world.kills[target]():
            await asyncio.sleep(0.02)
        # One that comes after the job's end is none.
        killed += not following.done()
    await following
    seconds = time.monotonic() - began
    done = await world.platform.get(job.name)
    assert done.state == State.STATE_SUCCEEDED, f"{done.error}\n{world.worker.log.read_text()[-3000:]}"
    return Ended(
        [event.metrics.loss for event in told if event.HasField("metrics")],
        told,
        await only_version(world, done),
        done,
        seconds,
        killed,
    )


async def only_version(world: World, job: training_job_pb2.TrainingJob) -> str:
    """Hold the registry against the job; return the digest of the adapter's weights."""
    request = adapter_pb2.ListAdapterVersionsRequest(parent=job.adapter)
    (version,) = (await world.platform.adapters.ListAdapterVersions(request)).adapter_versions
    assert version.name == job.adapter_version
    assert version.state == adapter_pb2.AdapterVersion.STATE_READY
    latest = await world.platform.adapters.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=job.adapter))
    assert latest.adapter_version.name == version.name
    manifest = AdapterManifest.from_bytes(latest.adapter_version.manifest)
    assert manifest.training["final_loss"] == job.progress.loss
    return manifest.files[1].sha256


def check(ended: Ended, undisturbed: Ended) -> None:
    assert [event.sequence for event in ended.events] == list(range(1, len(ended.events) + 1))
    assert len(ended.events) == len({event.sequence for event in ended.events})
    steps = [event.metrics.step for event in ended.events if event.HasField("metrics")]
    assert steps == list(range(1, STEPS + 1))
    assert ended.losses == undisturbed.losses
    assert ended.job.progress.loss == undisturbed.job.progress.loss
    assert ended.adapter == undisturbed.adapter
    # What the recipe says before it trains is said once, too: by who was killed or by who came after.
    for text in {event.message.text for event in undisturbed.events if event.HasField("message")}:
        assert [event.message.text for event in ended.events].count(text) == 1


@pytest.mark.proof
async def test_a_job_outlives_its_training_its_worker_and_the_service(
    world: World, material: tuple[str, str], undisturbed: Ended
) -> None:
    ended = await run(world, material, "twice-killed", [("recipe", 60), ("worker", 150), ("service", 250)])
    assert (ended.job.attempt, ended.kills) == (3, 3)
    check(ended, undisturbed)
    resumed = [event.message.text for event in ended.events if "Training goes on after step" in event.message.text]
    assert len(resumed) == 2
    await discarded(world, ended.job.name)


async def discarded(world: World, job: str) -> None:
    """Checkpoints of a job that has ended are listed and no longer stored."""
    request = training_job_pb2.ListTrainingJobCheckpointsRequest(parent=job)
    async with asyncio.timeout(20):
        while True:
            found = (await world.platform.jobs.ListTrainingJobCheckpoints(request)).checkpoints
            assert found
            if not any(checkpoint.stored for checkpoint in found):
                return
            await asyncio.sleep(0.2)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", ["recipe", "worker", "service", "postgres", "store"])
async def test_ten_kills(world: World, material: tuple[str, str], undisturbed: Ended, target: str) -> None:
    chance = random.Random(f"{SEED} {target}")
    print(f"\n{target}: seed {SEED}; undisturbed {undisturbed.seconds:.1f} s, loss {undisturbed.losses[-1]!r}")
    jobs = kills = 0
    seconds = undisturbed.seconds
    while kills < KILLS:
        assert jobs < KILLS, f"only {kills} kills met one of {jobs} jobs"
        moments = sorted(chance.uniform(0, seconds) for _ in range(KILLS_IN_A_JOB))
        ended = await run(world, material, f"{target}-{jobs}", [(target, moment) for moment in moments])
        told = ", ".join(f"{moment:.2f}" for moment in moments)
        print(
            f"  killed {ended.kills} times ({told} s); ended after {ended.seconds:.1f} s in attempt {ended.job.attempt}"
            f" with loss {ended.losses[-1]!r}"
        )
        check(ended, undisturbed)
        jobs, kills, seconds = jobs + 1, kills + ended.kills, min(seconds, ended.seconds)
    print(f"  {kills} kills, {jobs} jobs: every loss, event and adapter as undisturbed, one version each")
