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


def measure(bench: Bench, _: Sequence[str]) -> None:
    """I: growth of the resident set, against the weights in the format that they are computed in."""
    for stored in STORED:
        told = [_load(bench, stored) for _ in range(min(bench.repeats, RUNS))]
        raw = {f"{name} (MB)": statistics.median(run[name] for run in told) / 1e6 for name in told[0]}
        for name, what, limit in (("loaded", "loaded", 1.15), ("peak", "peak while loading", 1.3)):
            values = [run[name] / run["weights"] for run in told]
            text = f"{what}, stored as {stored}, computed in float32 / weights in float32"
            bench.findings.results.append(Result("I", text, "x", values, Target(limit, at_least=False), raw))
    bench.findings.notes.append(
        "Memory: growth of the resident set; the budget for keys and values is touched as it is used, and is not counted. "
        "The peak counts pages of the files that are read, which the kernel can take back; peak_anonymous does not."
    )


def _load(bench: Bench, stored: str) -> dict[str, Any]:
    base = bench.fixtures.base(LARGE, stored)
    with ExitStack() as stack:
        contestant = bench.start_program(f"memory {stored}", "memory", (f"{PACKAGE}.memory", base), stack)
        told = contestant.description
    bench.say(
        f"memory, stored as {stored}: {told['loaded'] / told['weights']:.2f}, peak {told['peak'] / told['weights']:.2f}"
    )
    return told
