"""The kinds of engines that the suite runs over."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import torch

from services.common.identity import BaseFingerprint
from services.inference.engine.protocol import Engine, EngineLoader
from services.inference.engine.sequential.engine import SequentialEngineLoader

LoadEngine = Callable[..., Awaitable[tuple[Engine, BaseFingerprint]]]


def plain_loader(queue_size: int, dtype: torch.dtype) -> EngineLoader:
    return SequentialEngineLoader(dtype=str(dtype).removeprefix("torch."), device="cpu", queue_size=queue_size)


ENGINES: Final[Mapping[str, Callable[[int, torch.dtype], EngineLoader]]] = {"plain": plain_loader}
