"""vLLM, run by the Python of an environment that has it: this program needs nothing else of the project's requirements.

python -m benchmarks.serving_bench.contestants.vllm BASE ADAPTER…
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving_bench.messages import READY, RUN, Outcome, Wire, Workload

RANK = 8
ROWS = 64
CONTEXT = 2048


class Contestant:
    """vLLM's engine in this process, with its adapters."""

    def __init__(self, base: Path, adapters: Sequence[Path]) -> None:
        """Load everything."""
        # What vLLM reads while it is imported is in the environment.
        import torch  # noqa: PLC0415
        import vllm  # type: ignore[import-not-found]  # noqa: PLC0415  # in its own environment
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]  # noqa: PLC0415  # likewise

        self._versions = {"vllm": vllm.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
        self._requests = {path.name: LoRARequest(path.name, at + 1, str(path)) for at, path in enumerate(adapters)}
        count = max(len(adapters), 1)
        lora = {"enable_lora": True, "max_loras": count, "max_cpu_loras": count, "max_lora_rank": RANK}
        self._sampling: Any = vllm.SamplingParams
        llm: Any = vllm.LLM(
            model=str(base),
            dtype="float32",
            enable_prefix_caching=False,
            max_model_len=CONTEXT,
            max_num_seqs=ROWS,
            **(lora if adapters else {}),
        )
        self._engine = llm.llm_engine
        self._count = 0

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Versions and settings."""
        return {**self._versions, "affinity": sorted(os.sched_getaffinity(0))}

    def run(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a workload, as ``LLM.generate`` does, noting when tokens come."""
        workload = Workload.from_command(command)
        sampling = self._sampling(temperature=0, max_tokens=workload.tokens, ignore_eos=True, detokenize=False)
        started = time.perf_counter()
        names: dict[str, int] = {}
        for row, (prompt, adapter) in enumerate(zip(workload.prompts, workload.adapters, strict=True)):
            self._count += 1
            lora = None if adapter is None else self._requests[adapter]
            names[str(self._count)] = row
            asked = {"prompt_token_ids": list(prompt)}
            self._engine.add_request(str(self._count), asked, sampling, lora_request=lora)
        times: list[list[float]] = [[] for _ in names]
        tokens: list[list[int]] = [[] for _ in names]
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                row = names[output.request_id]
                tokens[row] = list(output.outputs[0].token_ids)
                times[row] += [time.perf_counter() - started] * (len(tokens[row]) - len(times[row]))
        return Outcome(time.perf_counter() - started, times, tokens).to_answer()


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    wire = Wire()
    contestant = Contestant(options.base, options.adapters)
    wire.serve({READY: contestant.describe, RUN: contestant.run})


if __name__ == "__main__":
    main()
