"""The kinds of engines that the suite runs over."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import torch

from services.common.identity import BaseFingerprint
from services.inference.engine.batched.graphs import Recorder, recorder_for
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import Engine, EngineLoader
from services.inference.engine.sequential.engine import SequentialEngineLoader
from tests.contract.inference.tracing import TracingRecorder

LoadEngine = Callable[..., Awaitable[tuple[Engine, BaseFingerprint]]]


BATCH_ROWS: Final = 24

KERNELS: Final = Path(__file__).parents[3] / ".cache/kernels"


def sequential_loader(queue_size: int, dtype: torch.dtype) -> EngineLoader:
    return SequentialEngineLoader(dtype=str(dtype).removeprefix("torch."), device="cpu", queue_size=queue_size)


def native_loader(queue_size: int, dtype: torch.dtype) -> EngineLoader:
    return batched_loader(queue_size, dtype, kernels_dir=KERNELS)


def recorded_loader(queue_size: int, dtype: torch.dtype) -> EngineLoader:
    return batched_loader(queue_size, dtype, recorder_for=lambda _: TracingRecorder())


def batched_loader(
    queue_size: int,
    dtype: torch.dtype,
    kernels_dir: Path | None = None,
    recorder_for: Callable[[torch.device], Recorder | None] = recorder_for,
) -> EngineLoader:
    options = EngineOptions(
        dtype=str(dtype).removeprefix("torch."),
        queue_size=queue_size,
        batch_rows=BATCH_ROWS,
        slots=16,
        kv_bytes=2**24,
        prefix_bytes=2**22,
        kernels_dir=kernels_dir,
    )
    return AutoEngineLoader(options, recorder_for)


RECORDED: Final = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures whose steps are recorded; with others that engine is the batched one."""

ENGINES: Final[Mapping[str, Callable[[int, torch.dtype], EngineLoader]]] = {
    "sequential": sequential_loader,
    "batched": batched_loader,
    "native": native_loader,
    "recorded": recorded_loader,
}


def engines_for(architectures: Iterable[str]) -> list[tuple[str, str]]:
    """Each engine with each architecture for which it is one of its own."""
    return [(name, a) for a in architectures for name in ENGINES if name != "recorded" or a in RECORDED]
