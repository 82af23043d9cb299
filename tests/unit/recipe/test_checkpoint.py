"""A run that is interrupted anywhere and goes on is, bit for bit, the run that was not."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import JsonValue
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from services.trainer.recipe.events import Events
from services.trainer.recipe.model.adapter import attach, trained_parameters
from services.trainer.recipe.model.targets import find_targets, output_layer
from services.trainer.recipe.protocol import (
    CheckpointTask,
    CheckpointWritten,
    Event,
    Note,
    RecipeHyperparameters,
    ResolvedHyperparameters,
    Schedule,
    Step,
    checkpoint_file,
    decode,
)
from services.trainer.recipe.training import checkpoint as files
from services.trainer.recipe.training.batches import PieceLimits
from services.trainer.recipe.training.checkpoint import CheckpointRefusedError, Identity, identify
from services.trainer.recipe.training.keeper import Keeper, PauseAsked, find_start
from services.trainer.recipe.training.loop import Fitted, Material, fit
from services.trainer.recipe.training.loss import SupervisedLoss
from tests.unit.recipe.conftest import Load, labelled, make_plan

ROWS = labelled(([5, 6, 7, 8], 2), ([9, 10, 11], 1), ([12, 13, 14, 15, 16], 3), ([3, 4, 5, 6], 1), ([7, 7, 9], 2))
VALIDATION = labelled(([20, 21, 22], 1))
PLAN = make_plan(epochs=6, batch_size=2, schedule=Schedule.COSINE, warmup_ratio=0.2, weight_decay=0.01, seed=3)
STEPS = 15
BASE = "ab" * 32
COMPUTE: Mapping[str, JsonValue] = {"device": "cpu", "threads": 1}


@dataclass
class Run:
    """What came of a run, and what it told."""

    fitted: Fitted | None
    weights: torch.Tensor
    events: list[Event]
    directory: Path

    @property
    def losses(self) -> list[tuple[int, float, float, float | None]]:
        steps = [event for event in self.events if isinstance(event, Step)]
        return [(step.step, step.loss, step.gradient_norm, step.validation_loss) for step in steps]

    @property
    def written(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, CheckpointWritten)]

    def file(self, step: int) -> Path:
        return checkpoint_file(self.directory, step)


Train = Callable[..., Run]


@pytest.fixture
def train(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Train:
    def run(*resume_from: Path, plan: ResolvedHyperparameters = PLAN, pause_at: int = 0, **settings: Any) -> Run:
        directory = tmp_path_factory.mktemp("checkpoints")
        task = CheckpointTask(
            directory=directory,
            pause_file=directory / "pause",
            writer="w",
            resume_from=resume_from,
            **{"every_steps": 4, **settings},
        )
        base = load()
        head = output_layer(base.model)
        model = attach(base.model, find_targets(base.model, RecipeHyperparameters()), plan)
        parameters, stream = trained_parameters(model), _Pausing(task.pause_file, pause_at)
        events, identity = Events(stream), identify(BASE, plan, ROWS, VALIDATION)
        keeper = Keeper(task, identity, COMPUTE, events, find_start(task, identity, parameters, events))
        loss = SupervisedLoss(model, head)
        limits = PieceLimits(1000, 100, packed=loss.packs, members=2)
        material = Material(ROWS, VALIDATION, limits, torch.device("cpu"), 1)
        try:
            with loss.ready():
                fitted = fit(loss, parameters, material, plan, events, keeper)
        except PauseAsked:
            fitted = None
        weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
        return Run(fitted, weights, [decode(line) for line in stream.getvalue().splitlines()], directory)

    return run


class _Pausing(io.StringIO):
    """Asks for a pause when it reads of a step."""

    def __init__(self, pause_file: Path, step: int) -> None:
        super().__init__()
        self._pause_file = pause_file
        self._step = step

    def write(self, text: str) -> int:
        if f'"step":{self._step},' in text:
            self._pause_file.touch()
        return super().write(text)


@pytest.mark.parametrize("pause_at", [1, 7, STEPS - 1])
def test_a_run_that_paused_goes_on_as_if_it_had_not(train: Train, pause_at: int) -> None:
    whole = train()
    first = train(pause_at=pause_at)
    assert first.fitted is None
    assert first.events[-1] == CheckpointWritten(step=pause_at, size=first.file(pause_at).stat().st_size)
    second = train(first.file(pause_at))
    assert first.losses + second.losses == whole.losses
    assert len(whole.losses) == STEPS
    assert second.fitted == whole.fitted
    assert torch.equal(second.weights, whole.weights)


def test_checkpoints_come_every_so_many_steps_and_change_nothing(train: Train) -> None:
    kept, bare = train(), train(every_steps=None)
    assert kept.written == [4, 8, 12]
    assert bare.written == []
    assert torch.equal(kept.weights, bare.weights)
    assert [path.name for path in kept.directory.iterdir() if path.suffix != ".safetensors"] == []
    for step in kept.written:
        assert train(kept.file(step)).fitted == bare.fitted


def test_checkpoints_come_after_so_many_seconds(train: Train) -> None:
    assert train(every_seconds=1e-9, every_steps=None).written == list(range(1, STEPS))
    assert train(every_seconds=3600.0, every_steps=None).written == []


def test_a_pause_asked_for_at_the_last_step_is_too_late(train: Train) -> None:
    assert train(pause_at=STEPS).fitted == train().fitted


def test_a_damaged_checkpoint_is_left_for_the_one_before_it(train: Train) -> None:
    whole = train()
    damaged = whole.file(12)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    again = train(damaged, whole.file(8))
    assert again.losses == whole.losses[8:]
    assert again.fitted == whole.fitted
    (note,) = [event for event in again.events if isinstance(event, Note)]
    assert note.text.startswith("The checkpoint step-12 is not used, because it cannot be read")
    assert str(whole.directory) not in note.text


def test_without_any_good_checkpoint_a_run_begins_at_the_beginning(train: Train) -> None:
    whole = train()
    again = train(whole.directory / "none.safetensors", whole.file(4), plan=replace(PLAN, seed=4))
    assert [step for step, *_ in again.losses] == list(range(1, STEPS + 1))
    notes = [event.text for event in again.events if isinstance(event, Note)]
    assert len(notes) == 2
    assert "because it is of a plan with another seed" in notes[1]


def identity(**changes: Any) -> Identity:
    return replace(identify(BASE, PLAN, ROWS, VALIDATION), **changes)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (identity(base_fingerprint_id="cd" * 32), "it is of another base"),
        (identify(BASE, PLAN, ROWS[:-1], VALIDATION), "it is of other rows"),
        (identify(BASE, PLAN, [ROWS[1], ROWS[0], *ROWS[2:]], VALIDATION), "it is of other rows"),
        (identify(BASE, PLAN, ROWS, ()), "it is of other validation rows"),
        (
            identify(BASE, replace(PLAN, lora_rank=8, epochs=7), ROWS, VALIDATION),
            "it is of a plan with another epochs, lora_rank",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(train: Train, other: Identity, text: str) -> None:
    with pytest.raises(CheckpointRefusedError) as refused:
        files.read(train().file(8), other, ())
    assert str(refused.value) == text


@pytest.mark.parametrize("damage", ["no header", "header", "losses", "unknown", "missing", "shape", "nan", "random"])
def test_a_checkpoint_that_is_not_whole_is_refused(train: Train, damage: str) -> None:
    path = train().file(8)
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    tensors = load_file(path)
    parameters = [tensors[f"parameter.{n}"] for n in range(sum(name.startswith("parameter") for name in tensors))]
    assert files.read(path, identity(), [torch.nn.Parameter(p) for p in parameters]).position.step == 8
    match damage:
        case "no header":
            metadata = {}
        case "header":
            metadata[files.HEADER] = metadata[files.HEADER].replace('"format":1', '"format":2')
        case "losses":
            tensors["losses"] = tensors["losses"][:-1]
        case "unknown":
            tensors["parameter.999"] = torch.zeros(1)
        case "missing":
            del tensors["parameter.1"]
        case "shape":
            tensors["parameter.1"] = tensors["parameter.1"].flatten()
        case "nan":
            tensors["parameter.1"][0, 0] = torch.nan
        case "random":
            del tensors["random.0.cpu"]
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointRefusedError):
        files.read(path, identity(), [torch.nn.Parameter(p) for p in parameters])


def test_a_disk_that_cannot_be_written_costs_the_checkpoint_and_not_the_training(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    whole = train()
    monkeypatch.setattr(files, "write", full)
    again = train()
    assert again.fitted == whole.fitted
    notes = [event.text for event in again.events if isinstance(event, Note)]
    assert notes == [
        "No checkpoint could be written: No space left on device. Training goes on; make room on the worker's disk."
    ]
