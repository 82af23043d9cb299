"""A run of the benchmark: its settings, and the contestants that it starts when they are needed."""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.serving_bench.fixtures import Fixtures
from benchmarks.serving_bench.processes import Contestant
from benchmarks.serving_bench.results import Findings
from benchmarks.serving_bench.shapes import Shape
from cli.suite.services import INFERENCE_COMPUTES

PACKAGE: Final = "benchmarks.serving_bench.contestants"

TENON_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE", **INFERENCE_COMPUTES})
"""What `tenon up` gives its services and computing depends on (cli/suite/services.py)."""

VLLM_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
)
"""Its engine in its own process, and its own choice of threads, which binds one to each core."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How a contestant is started.

    Attributes:
        module: of ``contestants``.
        shape: of the base that it loads.
        adapters: how many it loads.
    """

    module: str
    shape: Shape
    adapters: int = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """Settings of a run.

    Attributes:
        fixtures: what is loaded.
        repeats: of everything.
        vllm_python: interpreter of an environment with vLLM, or None.
        logs: where contestants' logs go.
        findings: grow.
    """

    fixtures: Fixtures
    repeats: int
    vllm_python: str | None
    logs: Path
    findings: Findings

    def start(self, name: str, spec: Spec, stack: ExitStack) -> Contestant:
        """Start a contestant, which ends with the stack."""
        self.say(f"loading {name}")
        base = self.fixtures.base(spec.shape)
        adapters = self.fixtures.adapters(spec.shape, count=spec.adapters, rank=8)
        arguments: list[str | Path] = [f"{PACKAGE}.{spec.module}", base, *adapters.values()]
        return self.start_program(name, spec.module, arguments, stack)

    def start_program(self, name: str, kind: str, arguments: Sequence[str | Path], stack: ExitStack) -> Contestant:
        """Start a contestant's program with these arguments."""
        vllm = kind == "vllm"
        contestant = Contestant(
            name,
            arguments,
            log=self.logs / f"{name.replace(' ', '-')}.log",
            python=self.vllm_python if vllm and self.vllm_python else sys.executable,
            environment=VLLM_ENVIRONMENT if vllm else TENON_ENVIRONMENT if kind != "peft" else {},
        )
        stack.enter_context(contestant)
        self.findings.contestants[name] = contestant.description
        return contestant

    def say(self, text: str) -> None:
        """Tell whoever waits."""
        print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def vllm_interpreter(path: str | None, findings: Findings) -> str | None:
    """The interpreter to use for vLLM; None, and a note, if there is none."""
    if path is None:
        findings.notes.append("vLLM was left out: name an environment's interpreter with --vllm-python.")
    elif shutil.which(path) is None:
        findings.notes.append(f"vLLM was left out: {os.fspath(path)} is no program.")
    else:
        return path
    return None
