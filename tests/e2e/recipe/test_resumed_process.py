"""A recipe that is killed or paused, and one that goes on from its checkpoint: the same losses, the same bytes."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.common.errors import Reason
from services.common.identity import fingerprint_base
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.protocol import (
    CheckpointTask,
    CheckpointWritten,
    Event,
    Failed,
    Finished,
    Paused,
    RecipeHyperparameters,
    RecipeTask,
    Started,
    Step,
    checkpoint_file,
    decode,
    encode_task,
)
from tests.support.tiny_bases import make_tiny_base

REPOSITORY = Path(__file__).parents[3]
STEPS = 60


@dataclass
class Place:
    """A task, and a directory for its checkpoints."""

    task: RecipeTask
    root: Path

    def checkpoints(self, resume_from: Sequence[Path] = ()) -> CheckpointTask:
        return CheckpointTask(
            directory=self.root,
            pause_file=self.root / "pause",
            writer="w",
            every_steps=13,
            resume_from=tuple(resume_from),
        )

    def start(self, name: str, resume_from: Sequence[Path] = (), **limits: int) -> "subprocess.Popen[str]":
        task = replace(
            self.task, output_directory=self.root / name, checkpoints=self.checkpoints(resume_from), threads=1
        )
        file = self.root / f"{name}.json"
        file.write_text(encode_task(task))
        size = limits.get("file_size")
        return subprocess.Popen(
            [sys.executable, "-m", "services.trainer.recipe", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos/gen"},
            preexec_fn=None if size is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),  # noqa: PLW1509 - no threads here
        )

    def complete(self, name: str, resume_from: Sequence[Path] = ()) -> list[Event]:
        output, _ = self.start(name, resume_from).communicate(timeout=120)
        return [decode(line) for line in output.splitlines()]


def losses(events: Sequence[Event]) -> list[tuple[int, float, float]]:
    return [(event.step, event.loss, event.gradient_norm) for event in events if isinstance(event, Step)]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> RecipeTask:
    directory = tmp_path_factory.mktemp("task")
    base = make_tiny_base(directory / "base")
    rows = directory / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n} and {n}?", "completion": "{n + n}"}}\n' for n in range(12)))
    return RecipeTask(
        base_model="baseModels/tiny",
        base_directory=base,
        base_fingerprint_id=fingerprint_base(base).id,
        dataset_path=rows,
        dataset_format=DatasetFormat.PROMPT_COMPLETION,
        output_directory=directory / "none",
        hyperparameters=RecipeHyperparameters(epochs=10, batch_size=2, learning_rate=1e-2, lora_rank=4),
    )


def test_a_killed_and_a_paused_run_end_as_the_undisturbed_one(task: RecipeTask, tmp_path: Path) -> None:
    place = Place(task, tmp_path)
    whole = place.complete("whole")
    assert [event.step for event in whole if isinstance(event, CheckpointWritten)] == [13, 26, 39, 52]
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()

    process, told = place.start("killed"), list[Event]()
    assert process.stdout is not None
    while not told or not isinstance(told[-1], CheckpointWritten):
        told.append(decode(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()
    first = checkpoint_file(tmp_path, 13)

    process, again = place.start("paused", [first]), list[Event]()
    assert process.stdout is not None
    while not again or not isinstance(again[-1], Step):
        again.append(decode(process.stdout.readline()))
    (tmp_path / "pause").touch()
    again += [decode(line) for line in process.stdout]
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    *again, last, end = again
    assert end == Paused()
    started = next(event for event in again if isinstance(event, Started))
    assert started.resumed_step == 13
    (tmp_path / "pause").unlink()

    assert isinstance(last, CheckpointWritten)
    rest = place.complete("resumed", [checkpoint_file(tmp_path, last.step), first])
    assert losses(told)[:13] + losses(again) + losses(rest) == losses(whole)
    assert len(losses(whole)) == STEPS
    ended, undisturbed = rest[-1], whole[-1]
    assert isinstance(ended, Finished)
    assert ended == undisturbed
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_full_disk_at_the_end_is_told_as_such(task: RecipeTask, tmp_path: Path) -> None:
    process = Place(task, tmp_path).start("full", file_size=4096)
    events = [decode(line) for line in process.communicate(timeout=60)[0].splitlines()]
    assert process.returncode == 1
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.DATA_DIRECTORY_UNUSABLE
    assert str(tmp_path) not in failed.message
    assert len(losses(events)) == STEPS
