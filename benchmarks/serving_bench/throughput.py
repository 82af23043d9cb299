"""Tokens per second: requests that arrive together, each contestant once in every repeat, in an order that turns."""

import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.serving_bench.bench import Bench, Spec
from benchmarks.serving_bench.messages import Outcome, Workload
from benchmarks.serving_bench.processes import Contestant
from benchmarks.serving_bench.results import Result, Target
from benchmarks.serving_bench.shapes import LARGE, SMALL

TOKENS: Final = 64
PROMPT_LENGTHS: Final = (20, 28)
FIRST_ID: Final = 259
"""Of the tokens that are not special and no byte of a text."""

SPECS: Final[Mapping[str, Spec]] = {
    "tenon": Spec("tenon", SMALL, 64),
    "peft": Spec("peft", SMALL, 16),
    "transformers": Spec("peft", SMALL),
    "vllm": Spec("vllm", SMALL, 16),
    "vllm of 64": Spec("vllm", SMALL, 64),
    "vllm alone": Spec("vllm", SMALL),
    "tenon large": Spec("tenon", LARGE, 16),
    "transformers large": Spec("peft", LARGE),
    "vllm large": Spec("vllm", LARGE, 16),
}
"""Contestants; one that was loaded without adapters can be faster without them than one that was loaded with some."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured of a contestant.

    Attributes:
        contestant: a key of ``SPECS``.
        rows: requests.
        adapters: distinct ones among them; 0 is the base alone.
        together: in one batch.
        runs: within a repeat, where one is short.
    """

    contestant: str
    rows: int
    adapters: int = 0
    together: bool = True
    runs: int = 1

    def __str__(self) -> str:
        """For people."""
        what = f"{self.adapters} adapters" if self.adapters else "base"
        return f"{self.contestant}, {self.rows} rows, {what}{'' if self.together else ', one at a time'}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two loads that are compared.

    Attributes:
        scenario: letter.
        of: the one that should be fast.
        to: the other.
        target: what the ratio of their throughputs must be, or None.
    """

    scenario: str
    of: Load
    to: Load
    target: float | None = None


def mixed(contestant: str, rows: int, adapters: int) -> Load:
    """Requests with adapters, in one batch."""
    return Load(contestant, rows, adapters)


ONE: Final = partial(Load, rows=1, runs=5)

RATIOS: Final = (
    Ratio("A", mixed("tenon", 64, 16), Load("tenon", 64), 0.90),
    Ratio("A", mixed("tenon", 64, 64), Load("tenon", 64), 0.90),
    Ratio("B", mixed("tenon", 16, 16), mixed("vllm", 16, 16), 2.5),
    Ratio("B", mixed("tenon", 64, 16), mixed("vllm", 64, 16), 2.5),
    Ratio("B", mixed("tenon", 64, 64), mixed("vllm of 64", 64, 64), 2.5),
    Ratio("B", Load("tenon", 16), Load("vllm alone", 16)),
    Ratio("B", Load("tenon", 64), Load("vllm alone", 64)),
    Ratio("C", mixed("tenon", 16, 16), mixed("peft", 16, 16), 4.5),
    Ratio("C", mixed("tenon", 16, 16), Load("peft", 16, 16, together=False), 12),
    Ratio("C", mixed("tenon", 16, 16), Load("tenon", 16)),
    Ratio("D", ONE("tenon"), ONE("transformers"), 1.6),
    Ratio("D", Load("tenon", 16), Load("transformers", 16)),
    Ratio("D", Load("tenon", 64), Load("transformers", 64)),
    Ratio("E", mixed("tenon large", 16, 16), mixed("vllm large", 16, 16), 1.9),
    Ratio("E", mixed("tenon large", 16, 16), Load("tenon large", 16)),
    Ratio("E", Load("tenon large", 16), Load("transformers large", 16)),
)


def measure(bench: Bench, letters: Sequence[str]) -> None:
    """Measure what these scenarios compare, once for all of them."""
    ratios = [ratio for ratio in RATIOS if ratio.scenario in letters and _can_run(bench, ratio)]
    loads = list(dict.fromkeys(load for ratio in ratios for load in (ratio.of, ratio.to)))
    with ExitStack() as stack:
        names = dict.fromkeys(load.contestant for load in loads)
        contestants = {name: bench.start(name, SPECS[name], stack) for name in names}
        speeds = _speeds(bench, contestants, loads)
    bench.findings.throughput |= {str(load): statistics.median(found) for load, found in speeds.items()}
    for ratio in ratios:
        bench.findings.results.append(_result(ratio, speeds))


def _can_run(bench: Bench, ratio: Ratio) -> bool:
    modules = {SPECS[load.contestant].module for load in (ratio.of, ratio.to)}
    return "vllm" not in modules or bench.vllm_python is not None


def _speeds(bench: Bench, contestants: Mapping[str, Contestant], loads: Sequence[Load]) -> dict[Load, list[float]]:
    """Tokens per second of each load in each repeat; what comes before the first repeat warms up and does not count."""
    speeds: dict[Load, list[float]] = {load: [] for load in loads}
    answers: dict[tuple[int, int, int], dict[str, Outcome]] = {}
    for repeat in range(-1, bench.repeats):
        turn = repeat % len(loads)
        for load in (*loads[turn:], *loads[:turn]):
            outcomes = [_run(bench, contestants[load.contestant], load, (repeat, run)) for run in range(load.runs)]
            if repeat >= 0:
                speeds[load].append(load.rows * TOKENS * load.runs / sum(outcome.seconds for outcome in outcomes))
                bench.say(f"{load}: {speeds[load][-1]:.1f} tok/s ({repeat + 1}/{bench.repeats})")
                answers.setdefault((repeat, load.rows, load.adapters), {})[str(load)] = outcomes[0]
    _compare(bench, answers)
    return speeds


def _run(bench: Bench, contestant: Contestant, load: Load, seed: tuple[int, int]) -> Outcome:
    shape = SPECS[load.contestant].shape
    names = list(bench.fixtures.adapters(shape, count=load.adapters, rank=8))
    outcome = contestant.run(workload(load.rows, names, shape.vocabulary, seed=str(seed), together=load.together))
    if any(len(tokens) != TOKENS for tokens in outcome.tokens):
        raise RuntimeError(f"{load} did not generate {TOKENS} tokens for each request")
    return outcome


def workload(rows: int, adapters: Sequence[str], vocabulary: int, *, seed: str, together: bool = True) -> Workload:
    """Random prompts; the same for every contestant, others in every repeat."""
    chance = random.Random(seed)
    prompts = [
        [chance.randrange(FIRST_ID, vocabulary) for _ in range(chance.randint(*PROMPT_LENGTHS))] for _ in range(rows)
    ]
    names = [adapters[row % len(adapters)] if adapters else None for row in range(rows)]
    return Workload(prompts, names, TOKENS, together)


def _compare(bench: Bench, answers: Mapping[tuple[int, int, int], Mapping[str, Outcome]]) -> None:
    """Note how many answers of the same requests are the same, token by token."""
    same: dict[tuple[str, str], list[bool]] = {}
    for outcomes in answers.values():
        ours = [name for name in outcomes if name.startswith("tenon")]
        for other in outcomes.keys() - set(ours):
            for own in ours:
                pairs = zip(outcomes[own].tokens, outcomes[other].tokens, strict=True)
                same.setdefault((own, other), []).extend(one == two for one, two in pairs)
    for (own, other), equal in sorted(same.items()):
        bench.findings.notes.append(f"Same tokens: {sum(equal)} of {len(equal)} answers of [{own}] and [{other}].")


def _result(ratio: Ratio, speeds: Mapping[Load, Sequence[float]]) -> Result:
    of, to = speeds[ratio.of], speeds[ratio.to]
    return Result(
        ratio.scenario,
        f"{ratio.of} / {ratio.to}",
        "x",
        [one / other for one, other in zip(of, to, strict=True)],
        None if ratio.target is None else Target(ratio.target),
        {f"{ratio.of} (tok/s)": statistics.median(of), f"{ratio.to} (tok/s)": statistics.median(to)},
    )
