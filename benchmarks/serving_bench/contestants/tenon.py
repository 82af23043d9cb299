"""This project's engine, as its service uses it: ``python -m benchmarks.serving_bench.contestants.tenon BASE ADAPTER…``."""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from opentelemetry.metrics import NoOpMeter
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.messages import READY, RUN, STALL, Outcome, Wire, Workload
from services.common.identity import BaseFingerprint, open_base
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import Engine, EngineRequest
from services.inference.metrics import InferenceMetrics
from tests.contract.inference.samples import read_adapter

KERNELS = Path.home() / ".cache/tenon/kernels"

STEADY_TOKENS = 48
"""Of every row, before and after a long prompt."""


def options_for(*, rows: int = 64, slots: int = 64) -> EngineOptions:
    """The engine's settings in all measurements: no prefix is met again, so none is kept."""
    return EngineOptions(dtype="float32", batch_rows=rows, slots=slots, prefix_bytes=0, kernels_dir=KERNELS)


async def load(base: Path, options: EngineOptions) -> tuple[Engine, BaseFingerprint]:
    """Load a base as the service does."""
    with open_base(base) as opened:
        fingerprint = opened.fingerprint()
        observer = InferenceMetrics(NoOpMeter("benchmark")).engine("baseModels/benchmark")
        return await AutoEngineLoader(options).load(opened, fingerprint, observer), fingerprint


class Contestant:
    """An engine with adapters attached, on an event loop of its own."""

    def __init__(self, base: Path, adapters: list[Path]) -> None:
        """Load everything."""
        self._runner = asyncio.Runner()
        self._digests: dict[str, str] = {}
        self._engine = self._runner.run(self._load(base, adapters))

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """How it computes."""
        return {"compute": self._engine.compute, "threads": torch.get_num_threads()}

    def run(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a workload."""
        return self._runner.run(self._run(Workload.from_command(command))).to_answer()

    def stall(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """How far apart the tokens of a workload's rows are while long prompts are read, and while none is."""
        return self._runner.run(self._stall(Workload.from_command(command), command["long"]))

    async def _load(self, base: Path, adapters: list[Path]) -> Engine:
        engine, fingerprint = await load(base, options_for())
        for directory in adapters:
            digest = hashlib.sha256(directory.name.encode()).hexdigest()
            await engine.attach(read_adapter(directory, fingerprint, digest))
            self._digests[directory.name] = digest
        return engine

    async def _run(self, workload: Workload) -> Outcome:
        started = time.perf_counter()
        rows = zip(workload.prompts, workload.adapters, strict=True)
        told = await asyncio.gather(*(self._answer(prompt, name, workload.tokens, started) for prompt, name in rows))
        seconds = time.perf_counter() - started
        return Outcome(seconds, [times for times, _ in told], [tokens for _, tokens in told])

    async def _stall(self, workload: Workload, prompts: Sequence[Sequence[int]]) -> Mapping[str, Any]:
        times: list[list[float]] = [[] for _ in workload.prompts]
        rows = zip(workload.prompts, workload.adapters, times, strict=True)
        tasks = [asyncio.create_task(self._note(prompt, name, workload.tokens, into)) for prompt, name, into in rows]
        windows = []
        for prompt in prompts:
            await _grown(times)
            began = time.perf_counter()
            await self._note(prompt, workload.adapters[0], 1, [])
            windows.append((began, time.perf_counter()))
        await _grown(times)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return _gaps(times, windows)

    async def _note(self, prompt: Sequence[int], adapter: str | None, count: int, times: list[float]) -> None:
        """Generate, and note when tokens come."""
        async with aclosing(self._engine.generate(self._request(prompt, adapter, count))) as events:
            async for _ in events:
                times.append(time.perf_counter())  # noqa: PERF401  # read by others meanwhile

    def _request(self, prompt: Sequence[int], adapter: str | None, count: int) -> EngineRequest:
        digest = None if adapter is None else self._digests[adapter]
        return EngineRequest(tuple(prompt), digest, count, frozenset())

    async def _answer(
        self, prompt: Sequence[int], adapter: str | None, count: int, started: float
    ) -> tuple[list[float], list[int]]:
        times, tokens = [], []
        async for event in self._engine.generate(self._request(prompt, adapter, count)):
            times.append(time.perf_counter() - started)
            tokens.append(event.token_id)
        return times, tokens


async def _grown(times: Sequence[Sequence[float]]) -> None:
    """Wait until every row has some more tokens."""
    wanted = [len(row) + STEADY_TOKENS for row in times]
    while any(len(row) < count for row, count in zip(times, wanted, strict=True)):  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0.005)


def _gaps(times: Sequence[Sequence[float]], windows: Sequence[tuple[float, float]]) -> Mapping[str, Any]:
    """Times between tokens: of those that came while a prompt was read, and of the others, first steps left out."""
    during: list[float] = []
    without: list[float] = []
    for row in times:
        for before, after in pairwise(row[STEADY_TOKENS // 2 :]):
            inside = any(began < after and before < ended for began, ended in windows)
            (during if inside else without).append(after - before)
    return {"during": during, "without": without, "reading": [ended - began for began, ended in windows]}


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    contestant = Contestant(options.base, options.adapters)
    wire.serve({READY: contestant.describe, RUN: contestant.run, STALL: contestant.stall})


if __name__ == "__main__":
    main()
