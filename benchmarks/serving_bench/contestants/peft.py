"""PEFT, and transformers alone where there are no adapters: ``generate``, in mixed batches or one request at a time.

python -m benchmarks.serving_bench.contestants.peft BASE ADAPTER…
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.messages import READY, RUN, Outcome, Wire, Workload
from tests.contract.inference.samples import quiet_peft

PAD = 0
NO_ADAPTER = "__base__"
"""PEFT's name for the base alone in a mixed batch."""


class Contestant:
    """A model of transformers, with adapters by PEFT if there are any."""

    def __init__(self, base: Path, adapters: Sequence[Path]) -> None:
        """Load everything."""
        self._model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._adapted = bool(adapters)
        if adapters:
            with quiet_peft():
                first = adapters[0]
                self._model = peft.PeftModel.from_pretrained(self._model, str(first), adapter_name=first.name).eval()
                for directory in adapters[1:]:
                    self._model.load_adapter(str(directory), adapter_name=directory.name)

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Versions."""
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "threads": torch.get_num_threads(),
        }

    def run(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a workload."""
        workload = Workload.from_command(command)
        run = self._together if workload.together else self._one_by_one
        return run(workload).to_answer()

    def _together(self, workload: Workload) -> Outcome:
        clock = _Clock(time.perf_counter())
        names = [name or NO_ADAPTER for name in workload.adapters] if self._adapted else None
        tokens = self._generate(workload.prompts, workload.tokens, clock, names)
        return Outcome(clock.read(), [clock.times] * len(tokens), tokens)

    def _one_by_one(self, workload: Workload) -> Outcome:
        started = time.perf_counter()
        times, tokens = [], []
        for prompt, adapter in zip(workload.prompts, workload.adapters, strict=True):
            if adapter is not None:
                self._model.set_adapter(adapter)
            clock = _Clock(started)
            tokens += self._generate([prompt], workload.tokens, clock, None)
            times.append(clock.times)
        return Outcome(time.perf_counter() - started, times, tokens)

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[Sequence[int]], count: int, clock: "_Clock", names: Sequence[str] | None
    ) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[PAD] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        named = {} if names is None else {"adapter_names": list(names)}
        config = GenerationConfig(max_new_tokens=count, do_sample=False, pad_token_id=PAD)  # type: ignore[no-untyped-call]
        config.eos_token_id = None
        found = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([clock]),
            **named,
        )
        tokens: list[list[int]] = found[:, width:].tolist()
        return tokens


class _Clock(StoppingCriteria):
    """Notes when each token was there; never stops anything."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.times: list[float] = []

    def read(self) -> float:
        """Seconds since it started."""
        return time.perf_counter() - self._started

    def __call__(self, input_ids: torch.LongTensor, _scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        """See ``StoppingCriteria``."""
        self.times.append(self.read())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)  # type: ignore[return-value]  # their name for a tensor


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    contestant = Contestant(options.base, options.adapters)
    wire.serve({READY: contestant.describe, RUN: contestant.run})


if __name__ == "__main__":
    main()
