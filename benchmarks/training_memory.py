"""How well the plan foresees a training's memory: seven shapes, each trained for a few steps in a process of its own.

    python -m benchmarks.training_memory [--json] [--only NAME]

The estimate is the plan's own, as the training process reports it before its first step; what is measured is the highest
resident memory of that very process (VmHWM of /proc), until its end. Exit status 1 if a ratio is outside 0.8 to 1.25.
"""

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM

from services.common.identity import fingerprint_base
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.protocol import (
    Failed,
    Plan,
    Planned,
    RecipeHyperparameters,
    RecipeTask,
    decode,
    encode_task,
)

STEPS: Final = 3
PATIENT: Final = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin while they wait make a training on a busy machine a hundred times slower."""

POLL_SECONDS: Final = 0.005
LOWEST, HIGHEST = 0.8, 1.25
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """A training to measure.

    Attributes:
        name: for people.
        architecture: of transformers.
        config: of the base.
        rank: of the adapter.
        batch: rows a step.
        length: of the longest row in tokens; the shortest have half of it.
        learnt: share of a row that is learnt.
        asked: other hyperparameters.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    rank: int
    batch: int
    length: int
    learnt: float
    asked: Mapping[str, Any] = field(default_factory=dict)


def _qwen2(hidden: int, inner: int, layers: int, heads: int, vocabulary: int) -> Mapping[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }


SHAPES: Final = (
    Shape("tiny", "qwen2", _qwen2(64, 176, 2, 4, 512), rank=4, batch=4, length=64, learnt=0.5),
    Shape("long", "qwen2", _qwen2(256, 704, 6, 4, 8192), rank=16, batch=8, length=768, learnt=0.3),
    Shape("words", "qwen2", _qwen2(192, 512, 4, 6, 120_000), rank=8, batch=16, length=96, learnt=0.7),
    Shape(
        "gpt2",
        "gpt2",
        {"n_embd": 512, "n_layer": 8, "n_head": 8, "n_positions": 1024, "vocab_size": 16_000},
        rank=32,
        batch=8,
        length=256,
        learnt=0.5,
    ),
    Shape("large", "qwen2", _qwen2(768, 2048, 12, 12, 32_000), rank=16, batch=4, length=320, learnt=0.5),
    Shape(
        "dora",
        "qwen2",
        _qwen2(256, 704, 6, 4, 8192),
        rank=16,
        batch=8,
        length=768,
        learnt=0.3,
        asked={"use_dora": True},
    ),
    Shape(
        "whole",
        "qwen2",
        _qwen2(512, 1408, 4, 8, 32_000),
        rank=8,
        batch=8,
        length=256,
        learnt=0.5,
        asked={"modules_to_save": ("lm_head", "embed_tokens")},
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Estimate and measurement, in bytes."""

    shape: Shape
    plan: Plan
    measured: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Estimate over measurement."""
        return self.plan.memory_bytes / self.measured


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Hold the plan's memory against what training takes.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", choices=[shape.name for shape in SHAPES], help="measure this shape alone")
    options = parser.parse_args()
    outcomes = []
    for shape in SHAPES:
        if options.only in {None, shape.name}:
            outcomes.append(measure(shape))
            if not options.json:
                print(_line(outcomes[-1]), flush=True)
    if options.json:
        print(json.dumps([_document(outcome) for outcome in outcomes], indent=2))
    return int(any(not LOWEST <= outcome.ratio <= HIGHEST for outcome in outcomes))


def measure(shape: Shape) -> Outcome:
    """Train a shape for a few steps.

    Raises:
        RuntimeError: the training failed, with what it said.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        task = directory / "task.json"
        task.write_text(encode_task(_task(shape, directory)))
        began = time.perf_counter()
        command = [sys.executable, "-P", "-m", "services.trainer.recipe", str(task)]
        with (directory / "events").open("wb") as events, (directory / "words").open("wb") as words:
            process = subprocess.Popen(command, stdout=events, stderr=words, env=PATIENT)
            peak = 0
            while process.poll() is None:
                peak = max(peak, _peak(process.pid))
                time.sleep(POLL_SECONDS)
        plan = None
        for line in (directory / "events").read_bytes().splitlines():
            event = decode(line)
            if isinstance(event, Failed):
                raise RuntimeError(f"{shape.name}: {event.message}")  # noqa: TRY004  # no fault of a type
            if isinstance(event, Planned):
                plan = event.plan
        if plan is None or process.returncode:
            raise RuntimeError(f"{shape.name}: {(directory / 'words').read_text()[-2000:]}")
        return Outcome(shape, plan, peak, time.perf_counter() - began)


def _peak(pid: int) -> int:
    """VmHWM of a process; it only grows, so the last look is the peak. 0 once the process is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _task(shape: Shape, directory: Path) -> RecipeTask:
    base = _base(shape, directory / "base")
    (directory / "rows").write_text("".join(json.dumps(row) + "\n" for row in _rows(shape)))
    return RecipeTask(
        base_model="baseModels/measured",
        base_directory=base,
        base_fingerprint_id=fingerprint_base(base).id,
        dataset_path=directory / "rows",
        dataset_format=DatasetFormat.PROMPT_COMPLETION,
        output_directory=directory / "output",
        hyperparameters=RecipeHyperparameters(
            epochs=1, batch_size=shape.batch, lora_rank=shape.rank, max_sequence_length=shape.length, **shape.asked
        ),
        force=True,
    )


def _base(shape: Shape, directory: Path) -> Path:
    """A random base with a tokenizer of bytes, so that a letter is a token."""
    config = AutoConfig.for_model(shape.architecture, **shape.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # transformers leaves the call untyped.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.save_pretrained(directory)
    words = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return directory


def _rows(shape: Shape) -> list[dict[str, str]]:
    chance = random.Random(0)
    rows = []
    for _ in range(STEPS * shape.batch):
        length = chance.randint(shape.length // 2, shape.length) - 1
        learnt = int(shape.learnt * length)
        text = "".join(chance.choices(string.ascii_lowercase, k=length))
        rows.append({"prompt": text[: length - learnt], "completion": text[length - learnt :]})
    return rows


def _line(outcome: Outcome) -> str:
    parts = ", ".join(f"{part} {size / MIB:.0f}" for part, size in outcome.plan.memory.items())
    return (
        f"{outcome.shape.name:>6}: estimate {outcome.plan.memory_bytes / MIB:6.0f} MiB, measured "
        f"{outcome.measured / MIB:6.0f} MiB, ratio {outcome.ratio:.2f}   ({parts}; "
        f"{outcome.plan.base_parameters / 1e6:.1f}M parameters, {outcome.seconds:.0f} s)"
    )


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "shape": outcome.shape.name,
        "parameters": outcome.plan.base_parameters,
        "estimate_bytes": outcome.plan.memory_bytes,
        "measured_bytes": outcome.measured,
        "ratio": round(outcome.ratio, 3),
        "parts": dict(outcome.plan.memory),
    }


if __name__ == "__main__":
    sys.exit(main())
