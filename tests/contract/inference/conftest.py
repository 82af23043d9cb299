"""Engines, for every test that asks for `load_engine`; tiny bases, made once."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from services.common.identity import BaseFingerprint, open_base
from services.inference.engine.protocol import Engine
from tests.contract.inference.engines import ENGINES, LoadEngine
from tests.support.tiny_bases import make_tiny_base
from tests.unit.inference.engine import Observed


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a tiny base, or give the one that was made before."""
    made: dict[str, Path] = {}

    def make(architecture: str = "qwen2", **options: Any) -> Path:
        key = f"{architecture}-{sorted(options.items())}"
        if key not in made:
            made[key] = make_tiny_base(tmp_path_factory.mktemp(architecture), architecture, **options)
        return made[key]

    return make


@pytest.fixture(params=sorted(ENGINES))
async def load_engine(request: pytest.FixtureRequest) -> AsyncIterator[LoadEngine]:
    """Load an engine of each kind; it is closed at the end."""
    async with AsyncExitStack() as stack:

        async def load(
            directory: Path, *, queue_size: int = 64, dtype: torch.dtype = torch.float32
        ) -> tuple[Engine, BaseFingerprint]:
            with open_base(directory) as opened:
                fingerprint = opened.fingerprint()
                engine = await ENGINES[request.param](queue_size, dtype).load(opened, fingerprint, Observed())
            stack.push_async_callback(engine.close)
            return engine, fingerprint

        yield load
