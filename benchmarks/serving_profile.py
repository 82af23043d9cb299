"""Where the time of a step goes: what each kind of operation takes, of a step in which every row computes one token.

    python -m benchmarks.serving_profile [--rows 16] [--adapters 16] [--large] [--cache DIR]

The engine runs as in benchmarks.serving; torch's profiler looks at some steps of it, in the thread that computes. ``beside`` is what
the operations do not account for: Python, and waiting for the event loop.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from torch.profiler import ProfilerActivity, profile, record_function
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.bench import TENON_ENVIRONMENT
from benchmarks.serving_bench.contestants.tenon import load, options_for
from benchmarks.serving_bench.fixtures import Fixtures
from benchmarks.serving_bench.shapes import LARGE, SMALL
from services.inference.engine.native.kernels import Kernels
from services.inference.engine.protocol import EngineRequest
from tests.contract.inference.samples import read_adapter

STEPS: Final = 20
BEFORE: Final = 12
KINDS: Final = {
    "mkldnn::_linear_pointwise": "products of the base",
    "aten::bmm": "products of adapters",
    "aten::baddbmm": "products of adapters",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::index_copy_": "keys and values written",
    "kernel linear": "products of the base",
    "kernel adapt": "products of adapters",
    "kernel attend": "attention",
    "kernel turn": "keys and values written",
}
OTHER: Final = "other operations"


def _recorded(name: str) -> Callable[..., Any]:
    """A kernel as torch's profiler sees operations."""
    kernel = getattr(Kernels, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        with record_function(f"kernel {name}"):
            return kernel(*arguments, **keywords)

    return call


class Watch:
    """Comes between the engine and its model: times some steps, then profiles as many."""

    def __init__(self, compute: Callable[..., Any], rows: int) -> None:
        """Look at steps of so many rows that compute a token each."""
        self._compute, self._rows = compute, rows
        self._seen = 0
        self.seconds: list[float] = []
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def __call__(self, pieces: Any, place_of: Any) -> Any:
        """Compute a step."""
        if len(pieces) != self._rows or any(piece.count > 1 for piece in pieces):
            return self._compute(pieces, place_of)
        self._seen += 1
        if self._seen == BEFORE + STEPS:
            for name in ("linear", "adapt", "attend", "turn"):
                setattr(Kernels, name, _recorded(name))
            self.profiler.__enter__()  # type: ignore[no-untyped-call]
        began = time.perf_counter()
        found = self._compute(pieces, place_of)
        if BEFORE <= self._seen < BEFORE + STEPS:
            self.seconds.append(time.perf_counter() - began)
        if self._seen == BEFORE + 2 * STEPS - 1:
            self.profiler.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return found

    def by_kind(self) -> dict[str, float]:
        """Milliseconds of a step."""
        kinds: dict[str, float] = {}
        for event in self.profiler.key_averages():
            kind = KINDS.get(event.key, OTHER)
            kinds[kind] = kinds.get(kind, 0.0) + event.self_cpu_time_total / 1e3 / STEPS
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))


async def measure(options: argparse.Namespace) -> tuple[Watch, str]:
    """Run requests that are all together for long enough."""
    shape, fixtures = LARGE if options.large else SMALL, Fixtures(options.cache)
    base = fixtures.base(shape)
    adapters = fixtures.adapters(shape, count=options.adapters, rank=8)
    engine, fingerprint = await load(base, options_for(rows=options.rows))
    for number, directory in enumerate(adapters.values()):
        await engine.attach(read_adapter(directory, fingerprint, f"{number:064x}"))
    model = engine._model  # type: ignore[attr-defined]  # noqa: SLF001  # the engine has no other place to look in
    watch = model.compute = Watch(model.compute, options.rows)
    await asyncio.gather(*(_answer(engine, number, options.adapters) for number in range(options.rows)))
    await engine.close()
    return watch, engine.compute


async def _answer(engine: Any, number: int, adapters: int) -> None:
    prompt = tuple(5 + (7 * number + 3 * place) % 1000 for place in range(24))
    digest = f"{number % adapters:064x}" if adapters else None
    async for _ in engine.generate(EngineRequest(prompt, digest, BEFORE + 2 * STEPS + 100, frozenset())):
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16, help="requests at the same time (%(default)s)")
    parser.add_argument("--adapters", type=int, default=16, help="adapters among them; 0: the base alone (%(default)s)")
    parser.add_argument("--large", action="store_true", help="the base of 494 million parameters")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/tenon/benchmarks", help="made bases lie there"
    )
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in TENON_ENVIRONMENT.items()):
        # OpenMP and the C library read these when a process begins.
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **TENON_ENVIRONMENT})  # noqa: S606  # itself
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    watch, compute = asyncio.run(measure(options))
    step = 1e3 * sorted(watch.seconds)[len(watch.seconds) // 2]
    kinds = watch.by_kind()
    print(f"{options.rows} rows, {options.adapters} adapters: {compute}")
    for kind, milliseconds in {**kinds, "beside": max(step - sum(kinds.values()), 0.0)}.items():
        print(f"  {kind:<26}{milliseconds:8.2f} ms {100 * milliseconds / step:5.0f} %")
    print(f"  {'a step, not profiled':<26}{step:8.2f} ms")


if __name__ == "__main__":
    main()
