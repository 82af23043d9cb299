"""The reference: PEFT and transformers in the loop that everybody writes, padded, with a mask and all logits.

python -m benchmarks.training_bench.contestants.plain BASE
"""

import argparse
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.messages import READY, Wire
from benchmarks.training_bench.task import (
    ALPHA,
    CLIP_NORM,
    GRADIENT,
    LEARNING_RATE,
    RANK,
    SEED,
    STEP,
    TARGETS,
    Row,
    batch,
    rows,
)


class Contestant:
    """A model and its optimizer."""

    def __init__(self, base: Path) -> None:
        """Load everything."""
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        torch.manual_seed(SEED)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(TARGETS)
        )
        self._model = peft.get_peft_model(model, config)
        self._trained = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=LEARNING_RATE, weight_decay=0.0)
        self._rows = rows(model.config.vocab_size)
        self._step = 0

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Versions."""
        return {"peft": peft.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}

    def step(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take steps."""
        began, tokens, losses = time.perf_counter(), 0, []
        for _ in range(command["count"]):
            taken = batch(self._rows, self._step)
            loss = self._loss(taken)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._trained.values(), CLIP_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._step += 1
            losses.append(loss.item())
            tokens += sum(len(row.ids) for row in taken)
        return {"seconds": time.perf_counter() - began, "tokens": tokens, "losses": losses}

    def gradient(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the first batch's gradient."""
        self._loss(batch(self._rows, 0)).backward()  # type: ignore[no-untyped-call]
        found = {
            name: base64.b64encode(b"" if p.grad is None else p.grad.numpy().tobytes()).decode()
            for name, p in self._trained.items()
        }
        self._optimizer.zero_grad()
        return found

    def _loss(self, taken: Sequence[Row]) -> torch.Tensor:
        length = max(len(row.ids) for row in taken)
        ids = torch.tensor([[*row.ids, *[0] * (length - len(row.ids))] for row in taken])
        mask = torch.tensor([[1] * len(row.ids) + [0] * (length - len(row.ids)) for row in taken])
        labels = torch.tensor(
            [[-100] * row.prompt + [*row.ids[row.prompt :]] + [-100] * (length - len(row.ids)) for row in taken]
        )
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


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
