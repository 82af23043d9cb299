"""What the machine's matrix products reach, on the largest products of the model that is trained.

python -m benchmarks.training_bench.contestants.limit BASE
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.serving_bench.messages import READY, Wire
from benchmarks.training_bench.task import STEP

ROWS: Final = 2048
REPEATS: Final = 20


def main() -> None:
    """Serve commands; a step is so many rounds of products."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    config = json.loads((parser.parse_args().base / "config.json").read_text())
    x = torch.randn(ROWS, config["hidden_size"])
    weight = torch.randn(config["intermediate_size"], config["hidden_size"])

    def step(command: Mapping[str, Any]) -> Mapping[str, Any]:
        began = time.perf_counter()
        for _ in range(command["count"] * REPEATS):
            x @ weight.T
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "flops": command["count"] * REPEATS * 2.0 * ROWS * weight.numel()}

    Wire().serve({READY: lambda _: {"threads": torch.get_num_threads()}, STEP: step})


if __name__ == "__main__":
    main()
