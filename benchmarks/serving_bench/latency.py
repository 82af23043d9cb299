"""Waiting: for the first token of a cold adapter, with more adapters than slots, and beside a long prompt."""

import random
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.serving_bench.bench import PACKAGE, Bench
from benchmarks.serving_bench.messages import COLD, LOOP, STALL
from benchmarks.serving_bench.processes import Contestant
from benchmarks.serving_bench.results import Result, Target, quantile
from benchmarks.serving_bench.shapes import SMALL
from benchmarks.serving_bench.throughput import FIRST_ID, SPECS, workload

MILLISECONDS: Final = 1000.0

COLD_RANK: Final = 48
"""Makes a file of 5.1 MB."""
COLD_ADAPTERS: Final = 4
COLD_LIMIT: Final = 150.0

CLIENTS: Final = 16
SLOTS: Final = 16
WORKING_SET: Final = 2 * SLOTS
REQUESTS: Final = 10
"""Of each client in a repeat."""

LONG_PROMPT: Final = 900
LONG_PROMPTS: Final = 3
DECODING: Final = 16
DECODED: Final = 1500
"""More than anybody waits for: rows are cancelled when the last long prompt was read."""


def measure_cold(bench: Bench, _: Sequence[str]) -> None:
    """F: through the service, the adapter's files on its disk and not in its memory."""
    with ExitStack() as stack:
        service = _service(bench, "service, cold adapters", stack, slots=64, count=COLD_ADAPTERS, rank=COLD_RANK)
        names = list(bench.fixtures.adapters(SMALL, count=COLD_ADAPTERS, rank=COLD_RANK))
        added, colds, warms = [], [], []
        for repeat in range(-1, bench.repeats):
            for number, name in enumerate(names):
                told = service.ask({"do": COLD, "adapter": name, "seed": 1000 * repeat + number})
                warm = statistics.median(told["warm"])
                if repeat >= 0:
                    added.append(MILLISECONDS * (told["cold"] - warm))
                    colds.append(MILLISECONDS * told["cold"])
                    warms.append(MILLISECONDS * warm)
        bench.say(f"cold adapter: {statistics.median(added):.1f} ms more")
    raw = {"cold (ms)": statistics.median(colds), "warm (ms)": statistics.median(warms)}
    what = "first token of a cold adapter of 5 MB, beyond a warm one's"
    bench.findings.results.append(Result("F", what, "ms", added, Target(COLD_LIMIT, at_least=False), raw))


def measure_working_set(bench: Bench, _: Sequence[str]) -> None:
    """G: clients that ask again at once, for adapters drawn from twice as many as there are slots, and all in slots."""
    names = list(bench.fixtures.adapters(SMALL, count=WORKING_SET, rank=8))
    with ExitStack() as stack:
        few, many = (
            _service(bench, f"service, {slots} slots", stack, slots=slots, count=WORKING_SET, rank=8)
            for slots in (SLOTS, 2 * WORKING_SET)
        )
        told: dict[Contestant, list[dict[str, Any]]] = {few: [], many: []}
        for repeat in range(-1, bench.repeats):
            command = {"do": LOOP, "clients": CLIENTS, "adapters": names, "requests": REQUESTS, "seed": repeat}
            for service in (few, many) if repeat % 2 else (many, few):
                answer = service.ask(command)
                if repeat >= 0:
                    told[service].append(answer)
                    bench.say(
                        f"{service.name}: p99 of the first token {_p99(answer):.0f} ms, {_speed(answer):.0f} tok/s"
                    )
    _note_working_set(bench, told[few], told[many])


def _note_working_set(bench: Bench, few: Sequence[dict[str, Any]], many: Sequence[dict[str, Any]]) -> None:
    waits = [_p99(one) / _p99(other) for one, other in zip(few, many, strict=True)]
    speeds = [_speed(one) / _speed(other) for one, other in zip(few, many, strict=True)]
    what = f"{WORKING_SET} adapters, {SLOTS} slots / all in slots, {CLIENTS} clients"
    sides = {"few slots": few, "all in slots": many}
    bench.findings.results += [
        Result(
            "G",
            f"p99 of the time to the first token, {what}",
            "x",
            waits,
            Target(3.0, at_least=False),
            {f"{side} (ms)": statistics.median(map(_p99, answers)) for side, answers in sides.items()},
        ),
        Result(
            "G",
            f"throughput, {what}",
            "x",
            speeds,
            Target(0.8),
            {f"{side} (tok/s)": statistics.median(map(_speed, answers)) for side, answers in sides.items()},
        ),
    ]


def measure_stall(bench: Bench, _: Sequence[str]) -> None:
    """H: rows that decode, while prompts of 900 tokens are read one after another, and while none is."""
    names = list(bench.fixtures.adapters(SMALL, count=DECODING, rank=8))
    ratios, during, without, reading = [], [], [], []
    with ExitStack() as stack:
        tenon = bench.start("tenon, long prompts", SPECS["tenon"], stack)
        for repeat in range(-1, bench.repeats):
            chance = random.Random(repeat)
            rows = workload(DECODING, names, SMALL.vocabulary, seed=f"stall {repeat}").to_command()
            long = [
                [chance.randrange(FIRST_ID, SMALL.vocabulary) for _ in range(LONG_PROMPT)] for _ in range(LONG_PROMPTS)
            ]
            told = tenon.ask({**rows, "do": STALL, "tokens": DECODED, "long": long})
            if repeat < 0:
                continue
            during.append(MILLISECONDS * quantile(told["during"], 0.99))
            without.append(MILLISECONDS * statistics.median(told["without"]))
            reading.append(MILLISECONDS * statistics.median(told["reading"]))
            ratios.append(during[-1] / without[-1])
            bench.say(f"a long prompt: p99 between tokens {during[-1]:.1f} ms, median without {without[-1]:.1f} ms")
    sides = {"p99 while it is read": during, "median without": without, "first token of the long prompt": reading}
    raw = {f"{side} (ms)": statistics.median(values) for side, values in sides.items()}
    what = f"p99 between tokens of {DECODING} rows while {LONG_PROMPT} tokens are read / median without"
    bench.findings.results.append(Result("H", what, "x", ratios, Target(3.0, at_least=False), raw))


def _service(bench: Bench, name: str, stack: ExitStack, *, slots: int, count: int, rank: int) -> Contestant:
    bench.say(f"starting {name}")
    adapters = bench.fixtures.adapters(SMALL, count=count, rank=rank)
    directory = bench.logs / name
    directory.mkdir()
    base = bench.fixtures.base(SMALL)
    arguments: list[str | Path] = [f"{PACKAGE}.service", base, directory, str(slots), *adapters.values()]
    return bench.start_program(name, "service", arguments, stack)


def _p99(answer: dict[str, Any]) -> float:
    """Milliseconds to the first token that one request in a hundred exceeds."""
    return MILLISECONDS * quantile(answer["first"], 0.99)


def _speed(answer: dict[str, Any]) -> float:
    return float(answer["tokens"] / answer["seconds"])
