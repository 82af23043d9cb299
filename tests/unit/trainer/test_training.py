"""Following a recipe that goes on from a checkpoint: what was told is not told again, and nothing is left out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.trainer.jobs import rules
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import (
    Claim,
    EventBody,
    JobMessage,
    JobState,
    Progress,
    StateChange,
    StepMetrics,
)
from services.trainer.recipe.protocol import (
    CheckpointWritten,
    Event,
    Level,
    Note,
    Paused,
    ResolvedHyperparameters,
    Schedule,
    Started,
    Step,
    checkpoint_file,
)
from services.trainer.storage.memory import MemoryStore
from services.trainer.worker.checkpoint_uploads import CheckpointUploads
from services.trainer.worker.output import Trained
from services.trainer.worker.recorder import Recorder
from services.trainer.worker.training import Training
from tests.unit.trainer.stores import claimed
from tests.unit.trainer.test_recorder import metrics

TOTAL = 9
PLAN = ResolvedHyperparameters(
    epochs=1,
    batch_size=1,
    learning_rate=1e-3,
    warmup_ratio=0.0,
    schedule=Schedule.LINEAR,
    lora_rank=4,
    lora_alpha=8.0,
    target_modules=("q_proj",),
    max_sequence_length=64,
    seed=0,
    weight_decay=0.0,
)
NOTE = Note(level=Level.WARNING, text="There are only 9 rows to learn.")


def started(resumed_step: int = 0) -> Started:
    return Started(
        hyperparameters=PLAN, total_steps=TOTAL, rows=9, supervised_tokens=9, compute={}, resumed_step=resumed_step
    )


def step(number: int, **changes: float) -> Step:
    return Step(**{**asdict(metrics(number)), **changes})


class Recipes:
    """Attempts at one job, each with what its recipe says."""

    def __init__(self, root: Path) -> None:
        self.store = MemoryStore()
        self.artifacts = FileSystemStore.open(root / "artifacts")
        self.root = root
        self.queue: JobQueue
        self.claim: Claim

    async def begin(self) -> None:
        self.queue, self.claim = await claimed(self.store)

    async def attempt(self, *events: Event) -> Trained | None:
        """Follow a recipe; where it says no more, its worker is lost, and another takes the job."""
        directory = self.root / str(self.claim.job.attempt)
        directory.mkdir()

        async def said() -> AsyncIterator[Event]:
            for event in events:
                if isinstance(event, CheckpointWritten):
                    checkpoint_file(directory, event.step).write_bytes(f"{event.step}".encode())
                yield event
                if isinstance(event, CheckpointWritten):
                    await uploads.finish()

        lease = self.claim.lease
        async with (
            Recorder(self.queue, lease, flush_seconds=60) as recorder,
            CheckpointUploads(self.queue, lease, self.artifacts, recorder) as uploads,
        ):
            try:
                return await Training(self.queue, self.claim, recorder).follow(said(), uploads, directory)
            except DomainError as error:
                if error.reason is not Reason.TRAINING_CRASHED:
                    raise
        await self.store.jobs.change(lease.name, rules.lose(9))
        claim = await self.queue.claim("another")
        assert claim is not None
        self.claim = claim
        return None

    async def told(self) -> Sequence[EventBody]:
        events = await self.store.jobs.events(self.claim.lease.name, after=0, limit=999)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        return [event.body for event in events]

    async def steps(self) -> list[tuple[int, float]]:
        return [(body.step, body.loss) for body in await self.told() if isinstance(body, StepMetrics)]

    async def texts(self) -> list[str]:
        return [body.text for body in await self.told() if isinstance(body, JobMessage) and "was lost" not in body.text]


@pytest.fixture
async def recipes(tmp_path: Path) -> Recipes:
    recipes = Recipes(tmp_path)
    await recipes.begin()
    return recipes


async def test_steps_after_the_checkpoint_are_told_once(recipes: Recipes) -> None:
    kept = CheckpointWritten(step=4, size=1)
    await recipes.attempt(NOTE, started(), *map(step, range(1, 5)), kept, step(5), step(6))
    assert [checkpoint.step for checkpoint in recipes.claim.checkpoints] == [4]
    await recipes.attempt(NOTE, started(4), step(5, tokens_per_second=7.0, memory_bytes=9), step(6), step(7), step(8))
    assert await recipes.steps() == [(number, 1.0 / number) for number in range(1, 9)]
    assert await recipes.texts() == [NOTE.text, "Training goes on after step 4."]
    job = await recipes.store.jobs.get(recipes.claim.lease.name)
    assert (job.progress.step, job.progress.total_steps) == (8, TOTAL)


async def test_a_run_that_begins_again_tells_only_what_is_new(recipes: Recipes) -> None:
    await recipes.attempt(NOTE, started(), *map(step, range(1, 5)), CheckpointWritten(step=4, size=1), step(5))
    refused = Note(level=Level.WARNING, text="The checkpoint step-4 is not used.")
    await recipes.attempt(NOTE, refused, started(), *map(step, range(1, 8)))
    assert [number for number, _ in await recipes.steps()] == list(range(1, 8))
    assert await recipes.texts() == [NOTE.text, refused.text]


async def test_progress_never_goes_back(recipes: Recipes) -> None:
    await recipes.attempt(started(), step(1), step(2), step(3))
    assert recipes.claim.job.progress == Progress(step=3, total_steps=9, loss=1 / 3, trained_tokens=30)
    await recipes.attempt(started(), step(1))
    assert (await recipes.store.jobs.get(recipes.claim.lease.name)).progress.step == 3


async def test_steps_that_come_out_otherwise_are_said_to_once_and_what_was_told_stands(recipes: Recipes) -> None:
    await recipes.attempt(started(), step(1), step(2), step(3))
    await recipes.attempt(started(), step(1), step(2, loss=0.75), step(3, loss=0.25), step(4))
    assert await recipes.steps() == [(number, 1.0 / number) for number in range(1, 5)]
    (text,) = await recipes.texts()
    assert text.startswith("Step 2 was computed again and came out otherwise: its loss is 0.75 now, and was 0.5.")


async def test_a_pause_returns_once_the_checkpoint_is_kept(recipes: Recipes) -> None:
    paused = await recipes.attempt(started(), step(1), step(2), CheckpointWritten(step=2, size=1), Paused())
    assert paused is None
    await recipes.store.jobs.change(recipes.claim.lease.name, rules.pause)
    await recipes.queue.confirm_pause(recipes.claim.lease)
    (kept,) = await recipes.store.jobs.checkpoints(recipes.claim.lease.name, before=None, limit=9)
    assert (kept.step, kept.metrics) == (2, metrics(2))
    assert b"".join(recipes.artifacts.read("default", kept.sha256)) == b"2"
    assert (await recipes.told())[-1] == StateChange(JobState.PAUSED)
    assert list((recipes.root / "1").iterdir()) == []


async def test_a_checkpoint_without_its_step_is_not_believed(recipes: Recipes) -> None:
    await recipes.attempt(started(), step(1), CheckpointWritten(step=5, size=1))
    assert recipes.claim.checkpoints == ()


async def test_of_checkpoints_that_wait_only_the_newest_is_kept(recipes: Recipes, tmp_path: Path) -> None:
    lease = recipes.claim.lease
    (tmp_path / "artifacts").rename(tmp_path / "away")
    async with (
        Recorder(recipes.queue, lease, flush_seconds=0.01) as recorder,
        CheckpointUploads(recipes.queue, lease, recipes.artifacts, recorder) as uploads,
    ):
        for number in range(1, 5):
            path = tmp_path / f"{number}"
            path.write_text(f"{number}")
            uploads.offer(path, replace(metrics(number)))
            if number == 1:
                while not await recipes.texts():
                    await recorder.flush()
                    await asyncio.sleep(0.01)
        (tmp_path / "away").rename(tmp_path / "artifacts")
        await uploads.finish()
    kept = await recipes.store.jobs.checkpoints(lease.name, before=None, limit=9)
    assert [checkpoint.step for checkpoint in kept] == [4, 1]
    assert not any((tmp_path / f"{number}").exists() for number in range(1, 5))
    assert await recipes.texts() == [
        "A checkpoint has to wait (ARTIFACT_STORE_UNAVAILABLE). Training goes on; the checkpoint is kept once that is over."
    ]
