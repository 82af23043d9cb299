"""The kinds of engines that the suite runs over."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import torch

from services.common.identity import BaseFingerprint
from services.inference.engine.plain import PlainEngineLoader
from services.inference.engine.protocol import Engine, EngineLoader

LoadEngine = Callable[..., Awaitable[tuple[Engine, BaseFingerprint]]]


def plain_loader(queue_size: int) -> EngineLoader:
    return PlainEngineLoader(dtype=torch.float32, device="cpu", queue_size=queue_size)


ENGINES: Final[Mapping[str, Callable[[int], EngineLoader]]] = {"plain": plain_loader}
