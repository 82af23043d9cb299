from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.matrix.platform import Platform, platform
from tests.matrix.samples import Samples


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything lies below it: bases, adapters, artifacts, caches."""
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def samples(root: Path) -> Samples:
    return Samples(root / "samples")


@pytest.fixture(scope="module")
async def running(root: Path) -> AsyncIterator[Platform]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        async with platform(root, monkeypatch) as started:
            yield started
