"""The trainer on real parts: Postgres, file-system store, registry and server in this process, workers of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.trainer.platform import Platform, running_platform
from tests.support.postgres import PostgresServer, stoppable_postgres

__all__ = ["stoppable_postgres"]


@pytest.fixture(scope="module")
async def platform(
    stoppable_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    root: Path = tmp_path_factory.mktemp("trainer")
    async with running_platform(stoppable_postgres, root) as platform:
        yield platform
