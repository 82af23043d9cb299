"""What training costs, and whether it reaches its targets, beside the peers that are installed.

    python -m benchmarks.training [--json] [--trl-python PATH] [--repeats N] [--steps N] [--cache DIR]

A  against TRL as it comes, and without gradient checkpointing
B  against what the machine's matrix products reach
C  the loss after equal steps on the same batches, and the gradient of one batch, against a plain loop with PEFT

Everything is measured in the same run with the same weights, rows, settings and float32, to which TRL must be told: as it comes it autocasts to
bfloat16, which takes minutes for a step on a processor that does not multiply it. Every contestant is a process of its own that
stands still while another is measured; each is measured once in every repeat, in an order that turns, and a figure is the median
of the ratios within the repeats. Targets that are missed are marked; they do not change the exit code, which is 1 where something
could not be measured.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.serving_bench.fixtures import Fixtures
from benchmarks.serving_bench.machine import describe_machine
from benchmarks.serving_bench.processes import Contestant, ContestantError
from benchmarks.serving_bench.report import as_json, print_tables
from benchmarks.serving_bench.results import Findings, Result, Target
from benchmarks.serving_bench.shapes import SMALL
from benchmarks.training_bench import task
from benchmarks.training_bench.flops import step_flops

PACKAGE: Final = "benchmarks.training_bench.contestants"
TENON, PLAIN, LIMIT = "tenon", "plain PEFT loop", "matrix products"
TRL, TRL_OFF = "TRL", "TRL, no checkpointing"
WARM_UP: Final = 2
"""Steps that are not measured."""


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contexts are left, so that contestants end
    findings, complete = Findings(), True
    try:
        with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
            contestants = _start(options, Path(logs), findings, stack)
            _measure(contestants, options.repeats, options.steps, findings)
    except ContestantError as error:
        findings.notes.append(str(error))
        complete = False
    except KeyboardInterrupt:
        sys.exit(130)
    machine, setup = describe_machine(), _setup(options)
    if options.json:
        print(json.dumps(as_json(machine, setup, findings), indent=2, ensure_ascii=False))
    else:
        print_tables(machine, setup, findings)
    sys.exit(0 if complete else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--trl-python", metavar="PATH", help="interpreter of an environment that has TRL")
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement (%(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of each (%(default)s)")
    cache = Path("~/.cache/tenon/benchmarks")
    parser.add_argument("--cache", type=Path, default=cache, help="where the base is kept (%(default)s)")
    return parser


def _setup(options: argparse.Namespace) -> dict[str, object]:
    made = task.rows(SMALL.vocabulary)
    tokens = sum(len(row.ids) for row in made)
    flops = sum(step_flops(SMALL, task.batch(made, step)) for step in range(len(made) // task.BATCH))
    return {
        "repeats": options.repeats,
        "steps": options.steps,
        "base": SMALL.describe(),
        "rows": f"{len(made)} of {tokens / len(made):.0f} tokens on average, {task.BATCH} in a step",
        "adapter": f"LoRA of rank {task.RANK} on all linear layers",
        "mflop_per_token": round(flops / tokens / 1e6, 1),
    }


def _start(options: argparse.Namespace, logs: Path, findings: Findings, stack: ExitStack) -> Mapping[str, Contestant]:
    base = Fixtures(options.cache.expanduser()).base(SMALL)
    programs: dict[str, tuple[str, list[str], str]] = {
        TENON: ("tenon", [], sys.executable),
        PLAIN: ("plain", [], sys.executable),
        LIMIT: ("limit", [], sys.executable),
    }
    if options.trl_python and shutil.which(options.trl_python):
        programs[TRL] = ("trl", ["--float32"], options.trl_python)
        programs[TRL_OFF] = ("trl", ["--no-checkpointing", "--float32"], options.trl_python)
    else:
        findings.notes.append("TRL was left out: name an environment's interpreter with --trl-python.")
    started: dict[str, Contestant] = {}
    for name, (module, arguments, python) in programs.items():
        _say(f"loading {name}")
        contestant = Contestant(
            name, [f"{PACKAGE}.{module}", base, *arguments], log=logs / f"{module}{len(started)}.log", python=python
        )
        started[name] = stack.enter_context(contestant)
        findings.contestants[name] = contestant.description
    return started


def _measure(contestants: Mapping[str, Contestant], repeats: int, steps: int, findings: Findings) -> None:
    _compare_gradients(contestants, findings)
    losses: dict[str, list[float]] = {TENON: [], PLAIN: []}
    made = task.rows(SMALL.vocabulary)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(-1, repeats):
        names = list(contestants)
        count = WARM_UP if repeat < 0 else steps
        begin = 0 if repeat < 0 else WARM_UP + repeat * steps
        tokens = sum(len(row.ids) for step in range(begin, begin + count) for row in task.batch(made, step))
        flops = sum(step_flops(SMALL, task.batch(made, step)) for step in range(begin, begin + count))
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            _say(f"{'warming up' if repeat < 0 else f'repeat {repeat + 1}'}: {name}")
            answer = contestants[name].ask({"do": task.STEP, "count": count})
            losses.get(name, []).extend(answer.get("losses", []))
            if repeat >= 0:
                # The limit's as the tokens that so many operations are enough for.
                work = answer["flops"] * tokens / flops if "flops" in answer else tokens
                speeds[name].append(work / answer["seconds"])
    _add_speeds(speeds, findings)
    last = steps
    tenon, plain = (statistics.fmean(losses[name][-last:]) for name in (TENON, PLAIN))
    findings.results.append(
        Result(
            "C",
            f"loss after {len(losses[TENON])} steps on the same batches, beside the plain loop's",
            "% apart",
            [100 * abs(tenon - plain) / plain],
            Target(1, at_least=False),
            {"tenon": tenon, "plain": plain, "first": losses[PLAIN][0]},
        )
    )


def _add_speeds(speeds: Mapping[str, Sequence[float]], findings: Findings) -> None:
    findings.throughput |= {name: statistics.median(values) for name, values in speeds.items()}
    peers = (("A", TRL, 4.5), ("A", TRL_OFF, 3.0), ("A", PLAIN, None), ("B", LIMIT, 0.7))
    for letter, peer, limit in peers:
        if peer in speeds:
            ratios = [own / other for own, other in zip(speeds[TENON], speeds[peer], strict=True)]
            target = None if limit is None else Target(limit)
            findings.results.append(Result(letter, f"tokens a second / {peer}", "", ratios, target))


def _compare_gradients(contestants: Mapping[str, Contestant], findings: Findings) -> None:
    """How far the gradient of the first batch is from the plain loop's, relative to its length."""
    own, plain = (_vector(contestants[name].ask({"do": task.GRADIENT})) for name in (TENON, PLAIN))
    error = float(np.linalg.norm(own - plain) / np.linalg.norm(plain))
    findings.results.append(
        Result("C", "gradient of one batch, apart from the plain loop's", "", [error], Target(1e-5, at_least=False))
    )


def _vector(answer: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    parts = [np.frombuffer(base64.b64decode(answer[name]), np.float32) for name in sorted(answer)]
    return np.concatenate(parts).astype(np.float64)


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
