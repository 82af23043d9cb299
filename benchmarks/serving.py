"""What serving costs, and whether it reaches its targets, beside the peers that are installed.

    python -m benchmarks.serving [--json] [--vllm-python PATH] [--only A,B] [--skip-large] [--repeats N] [--cache DIR]

A  many adapters against the base alone          F  the first token of a cold adapter
B  against vLLM's CPU engine                     G  a working set of twice the slots
C  against PEFT                                  H  tokens of others while a long prompt is read
D  against transformers, base alone              I  memory of a loaded base, and while it loads
E  the 494M base against vLLM

Everything is measured in the same run with the same weights, prompts, adapters and float32. Every contestant is a process of
its own that stands still while another is measured; each is measured once in every repeat, in an order that turns, and a
figure is the median of the ratios within the repeats. Targets that are missed are marked; they do not change the exit code, which is 1
where something could not be measured.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench import footprint, latency, throughput
from benchmarks.serving_bench.bench import TENON_ENVIRONMENT, VLLM_ENVIRONMENT, Bench, vllm_interpreter
from benchmarks.serving_bench.fixtures import Fixtures
from benchmarks.serving_bench.machine import describe_machine
from benchmarks.serving_bench.processes import ContestantError
from benchmarks.serving_bench.report import as_json, print_tables
from benchmarks.serving_bench.results import Findings
from benchmarks.serving_bench.shapes import LARGE, SMALL

Measurement = Callable[[Bench, Sequence[str]], None]

GROUPS: Final[tuple[tuple[str, Measurement], ...]] = (
    ("ABCD", throughput.measure),
    ("F", latency.measure_cold),
    ("G", latency.measure_working_set),
    ("H", latency.measure_stall),
    ("I", footprint.measure),
    ("E", throughput.measure),
)
"""Scenarios that share contestants, and how they are measured."""

NEED_LARGE: Final = "EI"


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contexts are left, so that contestants end
    findings, complete = Findings(), True
    try:
        with tempfile.TemporaryDirectory() as logs:
            python = vllm_interpreter(options.vllm_python, findings)
            bench = Bench(Fixtures(options.cache.expanduser()), options.repeats, python, Path(logs), findings)
            for letters, measurement in GROUPS:
                wanted = [letter for letter in letters if letter in _wanted(options)]
                if wanted:
                    complete &= _measured(bench, measurement, wanted)
    except KeyboardInterrupt:
        sys.exit(130)
    machine, setup = describe_machine(), _setup(options)
    if options.json:
        print(json.dumps(as_json(machine, setup, findings), indent=2, ensure_ascii=False))
    else:
        print_tables(machine, setup, findings)
    sys.exit(0 if complete else 1)


def _measured(bench: Bench, measurement: Measurement, letters: Sequence[str]) -> bool:
    """Measure; a contestant that ends spoils its scenarios and no others."""
    try:
        measurement(bench, letters)
    except ContestantError as error:
        bench.findings.notes.append(f"{', '.join(letters)} could not be measured: {error}")
        bench.say(bench.findings.notes[-1])
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--vllm-python", metavar="PATH", help="interpreter of an environment that has vLLM")
    parser.add_argument("--only", metavar="LETTERS", help="scenarios: A,B (all)")
    parser.add_argument("--skip-large", action="store_true", help="nothing with the 494M base")
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement (%(default)s)")
    cache = Path("~/.cache/tenon/benchmarks")
    parser.add_argument("--cache", type=Path, default=cache, help="where bases and adapters are kept (%(default)s)")
    return parser


def _wanted(options: argparse.Namespace) -> str:
    letters = "".join(letters for letters, _ in GROUPS)
    if options.only:
        letters = "".join(letter for letter in letters if letter in options.only.upper())
    return "".join(letter for letter in letters if not (options.skip_large and letter in NEED_LARGE))


def _setup(options: argparse.Namespace) -> dict[str, object]:
    return {
        "repeats": options.repeats,
        "tokens": throughput.TOKENS,
        "prompt_tokens": list(throughput.PROMPT_LENGTHS),
        "small": SMALL.describe(),
        "large": LARGE.describe(),
        "adapters": "LoRA of rank 8 on q, k, v, o",
        "tenon_environment": dict(TENON_ENVIRONMENT),
        "vllm_environment": dict(VLLM_ENVIRONMENT),
    }


if __name__ == "__main__":
    main()
