from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from services.common.rpc.channel import open_channel
from tests.e2e.registry.client import Registry
from tests.support.postgres import postgres_server, postgres_url, stoppable_postgres
from tests.support.registry import registry_settings, running_registry

__all__ = ["postgres_server", "postgres_url", "stoppable_postgres"]


@pytest.fixture(scope="module")
def artifacts_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "artifacts"


@pytest.fixture(scope="module")
async def channel(postgres_url: str, artifacts_directory: Path) -> AsyncIterator[aio.Channel]:
    """A channel to a registry of the module's own."""
    async with (
        running_registry(registry_settings(postgres_url, artifacts_directory)) as server,
        open_channel(server.address) as channel,
    ):
        yield channel


@pytest.fixture
def registry(channel: aio.Channel) -> Registry:
    """The registry, seen through a project that no other test uses."""
    return Registry(channel)
