"""How long `tenon up` takes to be ready and to stop, and how much memory each of its processes takes.

    python -m benchmarks.startup [--runs N] [--json]

The first start makes the database; medians are over the starts after it.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.suite import running_suite

MEGABYTE = 1_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="starts after the first (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runs = [measure(Path(directory) / "data") for _ in range(options.runs + 1)]
    result = summarise(runs)
    print(json.dumps(result, indent=2) if options.json else as_text(result))


def measure(data_dir: Path) -> dict[str, Any]:
    """One start and one stop: seconds, and megabytes of resident memory by process."""
    started = time.perf_counter()
    with running_suite(data_dir) as suite:
        ready = time.perf_counter() - started
        memory = {name: p.memory_info().rss / MEGABYTE for name, p in suite.processes().items()}
        stopping = time.perf_counter()
    return {"ready_s": ready, "stop_s": time.perf_counter() - stopping, "memory_mb": memory}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The first start apart, medians of the others."""
    later = runs[1:]
    names = sorted(later[-1]["memory_mb"])
    return {
        "first_ready_s": round(runs[0]["ready_s"], 2),
        "ready_s": round(statistics.median(run["ready_s"] for run in later), 2),
        "ready_s_all": [round(run["ready_s"], 2) for run in later],
        "stop_s": round(statistics.median(run["stop_s"] for run in later), 2),
        "memory_mb": {n: round(statistics.median(run["memory_mb"].get(n, 0.0) for run in later)) for n in names},
    }


def as_text(result: dict[str, Any]) -> str:
    """For people."""
    memory = "\n".join(f"  {name:<26}{megabytes:>6} MB" for name, megabytes in result["memory_mb"].items())
    return (
        f"first start {result['first_ready_s']} s, later starts {result['ready_s']} s (median of "
        f"{result['ready_s_all']}), stop {result['stop_s']} s\n{memory}"
    )


if __name__ == "__main__":
    main()
