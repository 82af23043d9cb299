from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from services.common.identity import BaseFingerprint
from services.common.rpc.server import RunningServer
from tests.contract.inference.samples import make_adapter
from tests.e2e.inference.service import StartInference, Suite, running_inference
from tests.support.postgres import postgres_server, postgres_url
from tests.support.registry import registry_settings, running_registry
from tests.support.tiny_bases import make_tiny_base

__all__ = ["postgres_server", "postgres_url"]

Base = tuple[str, BaseFingerprint]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's bases, adapters and artifacts lie."""
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
async def registry(postgres_url: str, root: Path) -> AsyncIterator[RunningServer]:
    async with running_registry(registry_settings(postgres_url, root / "artifacts")) as server:
        yield server


@pytest.fixture(scope="module")
async def suite(registry: RunningServer, root: Path) -> AsyncIterator[Suite]:
    """An inference service with default limits."""
    async with running_inference(registry.address, root / "artifacts", root / "cache", root / "bases") as suite:
        yield suite


@pytest.fixture
async def start_inference(registry: RunningServer, root: Path, tmp_path: Path) -> AsyncIterator[StartInference]:
    """Start services with other limits and empty caches."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Suite:
            service = running_inference(registry.address, root / "artifacts", tmp_path, root / "bases", **settings)
            return await stack.enter_async_context(service)

        yield start


@pytest.fixture(scope="module")
def directories(root: Path) -> Callable[..., Path]:
    """Make a tiny base below the roots, or give the one that was made before."""

    def make(name: str = "qwen2", **options: Any) -> Path:
        directory = root / "bases" / name
        if not directory.exists():
            make_tiny_base(directory, **{"architecture": name, **options})
        return directory

    return make


@pytest.fixture(scope="module")
async def qwen(suite: Suite, directories: Callable[..., Path]) -> Base:
    """A registered base."""
    return await suite.add_base(directories("qwen2"))


@pytest.fixture(scope="module")
async def gpt2(suite: Suite, directories: Callable[..., Path]) -> Base:
    """Another one, of another architecture."""
    return await suite.add_base(directories("gpt2"))


@pytest.fixture(scope="module")
def adapter_directory(root: Path, directories: Callable[..., Path]) -> Path:
    """An adapter of the Qwen2 base."""
    return make_adapter(directories("qwen2"), root / "adapter")


@pytest.fixture(scope="module")
async def wukong(suite: Suite, qwen: Base, adapter_directory: Path) -> str:
    """That adapter, published."""
    return await suite.publish(adapter_directory, qwen)
