"""Memory of a loaded base and while it loads, in a process that does nothing else."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.serving_bench.bench import PACKAGE, Bench
from benchmarks.serving_bench.results import Result, Target
from benchmarks.serving_bench.shapes import LARGE

STORED: Final = ("float32", "bfloat16")
RUNS: Final = 3
"""Memory hardly differs between runs."""
SMALL_BUDGET: Final = 64 * 2**20
"""For keys and values."""
USUAL_BUDGET: Final = 2**30

PARTS: Final = (("loaded", "loaded", 1.15), ("peak", "peak while loading", 1.3))


def measure(bench: Bench, _: Sequence[str]) -> None:
    """I: growth of the resident set, against the weights in the format that they are computed in."""
    for stored in STORED:
        told = [_load(bench, stored, SMALL_BUDGET) for _ in range(min(bench.repeats, RUNS))]
        usual = _load(bench, stored, USUAL_BUDGET)
        raw = {f"{name} (MB)": statistics.median(run[name] for run in told) / 1e6 for name in told[0]}
        raw["loaded with the usual kv_budget (MB)"] = usual["loaded"] / 1e6
        for name, what, limit in PARTS:
            text = f"{what}, stored as {stored}, computed in float32 / weights in float32"
            values = [run[name] / run["weights"] for run in told]
            target = Target(limit, at_least=False)
            bench.findings.results.append(Result("I", text, "x", values, target, raw if name == "loaded" else {}))
    bench.findings.notes.append(
        f"Memory: growth of the resident set with a budget of {SMALL_BUDGET >> 20} MiB for keys and values, none of it subtracted."
    )


def _load(bench: Bench, stored: str, budget: int) -> dict[str, Any]:
    arguments = (f"{PACKAGE}.memory", bench.fixtures.base(LARGE, stored), str(budget))
    with ExitStack() as stack:
        told = bench.start_program(f"memory {stored}", "memory", arguments, stack).description
    loaded, peak = told["loaded"] / told["weights"], told["peak"] / told["weights"]
    bench.say(f"memory, stored as {stored}, {budget >> 20} MiB of keys and values: {loaded:.2f}, peak {peak:.2f}")
    return told
