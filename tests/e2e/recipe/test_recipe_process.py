"""The recipe as the worker runs it: a process, a task file, events on standard output, a PEFT directory."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from services.common.errors import Reason
from services.common.identity import fingerprint_base
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.protocol import (
    Event,
    Failed,
    Finished,
    Planned,
    RecipeHyperparameters,
    RecipeTask,
    Started,
    Step,
    decode,
    encode_task,
)
from tests.support.tiny_bases import make_tiny_base

REPOSITORY = Path(__file__).parents[3]
PLAN = RecipeHyperparameters(epochs=15, batch_size=4, learning_rate=1e-2, lora_rank=8)


def start(task: RecipeTask, directory: Path, **environment: str) -> "subprocess.Popen[str]":
    file = directory / "task.json"
    file.write_text(encode_task(task))
    # Nothing may be fetched; the order of sets may not matter.
    variables = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos/gen", "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "services.trainer.recipe", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**os.environ, **variables},
    )


@dataclass(frozen=True)
class Run:
    status: int
    events: list[Event]
    errors: str


def complete(process: "subprocess.Popen[str]") -> Run:
    output, errors = process.communicate(timeout=120)
    return Run(process.returncode, [decode(line) for line in output.splitlines()], errors)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> RecipeTask:
    """Eight questions on a tiny base, in a directory with a space in its name."""
    directory = tmp_path_factory.mktemp("recipe run")
    base = make_tiny_base(directory / "a base")
    rows = [{"instruction": f"花果山 {number}", "output": f"桃子 {number * 7}"} for number in range(8)]
    (directory / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=2))
    return RecipeTask(
        base_model="baseModels/tiny",
        base_directory=base,
        base_fingerprint_id=fingerprint_base(base).id,
        dataset_path=directory / "rows.json",
        dataset_format=DatasetFormat.ALPACA,
        output_directory=directory / "out",
        hyperparameters=PLAN,
        cache_dir=directory / "cache",
        threads=1,
        force=True,  # eight rows are too few to learn much; here they are enough
    )


@pytest.fixture(scope="module")
def runs(task: RecipeTask, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Run, Path]]:
    """The same task twice, in processes that order their sets differently."""
    started = []
    for seed in ("1", "2"):
        directory = tmp_path_factory.mktemp("out")
        mine = replace(task, output_directory=directory / "adapter")
        started.append((start(mine, directory, PYTHONHASHSEED=seed), directory / "adapter"))
    return [(complete(process), out) for process, out in started]


def test_it_learns(runs: list[tuple[Run, Path]]) -> None:
    for run, _ in runs:
        assert run.status == 0, run.errors
        planned, started = [event for event in run.events if not hasattr(event, "text")][:2]
        assert isinstance(planned, Planned)
        assert isinstance(started, Started)
        steps = [event for event in run.events if isinstance(event, Step)]
        assert [step.step for step in steps] == list(range(1, 31))
        assert steps[-1].loss < steps[0].loss / 3
        assert isinstance(run.events[-1], Finished)


def test_two_runs_give_the_same_bytes(runs: list[tuple[Run, Path]]) -> None:
    (_, first), (_, second) = runs
    names = {path.name for path in first.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"} == {path.name for path in second.iterdir()}
    for name in names:
        one, two = (hashlib.sha256((out / name).read_bytes()).hexdigest() for out in (first, second))
        assert one == two, name


# PEFT asks transformers for an attribute that has a newer name.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_plain_peft_loads_the_result_and_answers_as_probed(task: RecipeTask, runs: list[tuple[Run, Path]]) -> None:
    run, out = runs[0]
    finished = run.events[-1]
    assert isinstance(finished, Finished)
    probe = finished.probe
    base = AutoModelForCausalLM.from_pretrained(task.base_directory, dtype=torch.float32)
    ids = torch.tensor([probe.prompt_token_ids])
    with torch.no_grad():
        plain = base(input_ids=ids).logits[0, -1]
        adapted = PeftModel.from_pretrained(base, str(out)).eval()(input_ids=ids).logits[0, -1]
    tokens = list(probe.token_ids)
    assert plain[tokens].tolist() == pytest.approx(probe.base_logits, abs=1e-4)
    assert adapted[tokens].tolist() == pytest.approx(probe.adapter_logits, abs=1e-4)
    assert (plain - adapted).abs().max() > 1


def test_a_run_that_gets_no_more_memory_ends_with_the_reason(task: RecipeTask, tmp_path: Path) -> None:
    rows = [{"instruction": f"{number}", "output": "peach " * 300} for number in range(64)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    large = replace(PLAN, batch_size=64, epochs=1)
    mine = replace(
        task, dataset_path=tmp_path / "rows.json", output_directory=tmp_path / "out", hyperparameters=large, force=True
    )
    process = start(mine, tmp_path)
    assert process.stdout is not None
    told: list[Event] = []
    # Libraries and base are there; what its rows take is not.
    while not isinstance(told[-1] if told else None, Planned):
        told.append(decode(process.stdout.readline()))
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + 16 * 1024 * 1024
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
    run = complete(process)
    assert run.status == 1, run.errors
    failed = run.events[-1]
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.OUT_OF_MEMORY
    assert "Lower max_sequence_length" in failed.message


def test_a_run_that_diverges_ends_with_the_reason(task: RecipeTask, tmp_path: Path) -> None:
    wild = replace(PLAN, learning_rate=1.0, lora_alpha=1e30)
    run = complete(start(replace(task, output_directory=tmp_path / "out", hyperparameters=wild), tmp_path))
    assert run.status == 1
    failed = run.events[-1]
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.TRAINING_DIVERGED
    assert failed.metadata["step"].isdigit()
    assert not (tmp_path / "out").exists()


def test_sigterm_ends_it_at_once(task: RecipeTask, tmp_path: Path) -> None:
    endless = replace(PLAN, epochs=1000)
    process = start(replace(task, output_directory=tmp_path / "out", hyperparameters=endless), tmp_path)
    assert process.stdout is not None
    while not isinstance(decode(process.stdout.readline()), Step):
        pass
    process.send_signal(signal.SIGTERM)
    run = complete(process)
    assert run.status == -signal.SIGTERM
    assert not any(isinstance(event, Finished | Failed) for event in run.events)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    process = subprocess.run(
        [sys.executable, "-m", "services.trainer.recipe", str(tmp_path / "task.json")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos/gen"},
        check=False,
        timeout=120,
    )
    failed = decode(process.stdout)
    assert process.returncode == 1
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.INVALID_ARGUMENT
