"""This project's engine, as its service uses it: ``python -m benchmarks.serving_bench.contestants.tenon BASE ADAPTER…``."""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from opentelemetry.metrics import NoOpMeter
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.messages import READY, RUN, Outcome, Wire, Workload
from services.common.identity import BaseFingerprint, open_base
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import Engine, EngineRequest
from services.inference.metrics import InferenceMetrics
from tests.contract.inference.samples import read_adapter

STALL = "stall"


def options_for(*, rows: int = 64, slots: int = 64) -> EngineOptions:
    """The engine's settings in all measurements: no prefix is met again, so none is kept."""
    return EngineOptions(dtype="float32", batch_rows=rows, slots=slots, prefix_bytes=0)


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

    async def _answer(
        self, prompt: list[int], adapter: str | None, count: int, started: float
    ) -> tuple[list[float], list[int]]:
        digest = None if adapter is None else self._digests[adapter]
        times, tokens = [], []
        async for event in self._engine.generate(EngineRequest(tuple(prompt), digest, count, frozenset())):
            times.append(time.perf_counter() - started)
            tokens.append(event.token_id)
        return times, tokens


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    contestant = Contestant(options.base, options.adapters)
    wire.serve({READY: contestant.describe, RUN: contestant.run})


if __name__ == "__main__":
    main()
