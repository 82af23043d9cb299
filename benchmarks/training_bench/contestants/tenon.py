"""The recipe, as a worker runs it, step by step.

python -m benchmarks.training_bench.contestants.tenon BASE
"""

import argparse
import base64
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.messages import READY, Wire
from benchmarks.training_bench.task import ALPHA, BATCH, CLIP_NORM, GRADIENT, LEARNING_RATE, RANK, SEED, STEP, rows
from services.common.bases.loader import load_base
from services.common.identity import open_base
from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow
from services.trainer.recipe.model.adapter import attach, trained_parameters
from services.trainer.recipe.model.targets import find_targets, output_layer
from services.trainer.recipe.protocol import RecipeHyperparameters, ResolvedHyperparameters, Schedule
from services.trainer.recipe.training.batches import PieceLimits, micro_batches, token_budget
from services.trainer.recipe.training.compute import choose_compute
from services.trainer.recipe.training.gradient import accumulate
from services.trainer.recipe.training.loop import take_step
from services.trainer.recipe.training.loss import SupervisedLoss
from services.trainer.recipe.training.team import Team

PLAN = ResolvedHyperparameters(
    epochs=1,
    batch_size=BATCH,
    learning_rate=LEARNING_RATE,
    warmup_ratio=0.0,
    schedule=Schedule.CONSTANT,
    lora_rank=RANK,
    lora_alpha=float(ALPHA),
    target_modules=(),
    max_sequence_length=512,
    seed=SEED,
    weight_decay=0.0,
)


class Contestant:
    """The recipe's parts, put together as ``services.trainer.recipe.run`` does."""

    def __init__(self, base: Path) -> None:
        """Load everything."""
        with open_base(base) as opened:
            fingerprint = opened.fingerprint()
            compute = choose_compute(None, fingerprint.parameter_count)
            loaded = load_base(opened, dtype=compute.dtype, device=compute.device)
        head = output_layer(loaded.model)
        model = attach(loaded.model, find_targets(loaded.model, RecipeHyperparameters()), PLAN)
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._parameters = trained_parameters(model)
        self._loss = SupervisedLoss(model, head)
        members = compute.members(BATCH) if self._loss.packs else 1
        config = loaded.config.get_text_config()
        tokens = token_budget(
            config.hidden_size,
            config.num_hidden_layers,
            config.vocab_size,
            memory_bytes=compute.activation_bytes // members,
        )
        self._limits = PieceLimits(tokens, compute.padding_tokens, self._loss.packs, members)
        self._team = Team(members, compute.threads // members)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        self._rows = [_labelled(row.ids, row.prompt) for row in rows(config.vocab_size)]
        self._step = 0
        self._about = {**compute.describe(), "packed": self._loss.packs, "members": members}

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was chosen."""
        return self._about

    def step(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take steps."""
        began, tokens, losses = time.perf_counter(), 0, []
        with self._loss.ready():
            for _ in range(command["count"]):
                pieces = micro_batches(self._next(), self._limits)
                value, _ = take_step(
                    self._loss, pieces, self._parameters, self._optimizer, self._step, self._team, CLIP_NORM
                )
                losses.append(value)
                tokens += sum(piece.tokens for piece in pieces)
        return {"seconds": time.perf_counter() - began, "tokens": tokens, "losses": losses}

    def gradient(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the first batch's gradient."""
        with self._loss.ready():
            pieces = micro_batches(self._rows[:BATCH], self._limits)
            accumulate(self._loss, pieces, self._parameters, self._team)
        found = {name: _packed(parameter.grad) for name, parameter in zip(self._names, self._parameters, strict=True)}
        self._optimizer.zero_grad()
        return found

    def _next(self) -> list[LabelledRow]:
        begin = self._step * BATCH % len(self._rows)
        self._step += 1
        return self._rows[begin : begin + BATCH]


def _labelled(ids: tuple[int, ...], prompt: int) -> LabelledRow:
    return LabelledRow(array("q", ids), array("q", [IGNORED] * prompt + list(ids[prompt:])), truncated=False)


def _packed(gradient: torch.Tensor | None) -> str:
    return base64.b64encode(b"" if gradient is None else gradient.numpy().tobytes()).decode()


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    options = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    contestant = Contestant(options.base)
    wire.serve({READY: contestant.describe, STEP: contestant.step, GRADIENT: contestant.gradient})


if __name__ == "__main__":
    main()
