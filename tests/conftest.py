"""What tests of every kind use."""

from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # ships no types

# Several processes share two cores: how long one example waits for its turn says nothing about it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

SHARED: Final = {"tests/e2e/openai/": "stack", "tests/e2e/gateway/": "stack", "tests/e2e/suite/": "trained"}
"""The folders whose files share what takes half a minute to start, and the fixture that starts it."""


class FilesBySuite(LoadFileScheduling):
    """Gives files to whichever worker is free, as xdist does, but those that share a running suite to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        shared = (fixture for folder, fixture in SHARED.items() if nodeid.startswith(folder))
        return next(shared, "") or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesBySuite:
    """Used by `make test`."""
    return FilesBySuite(config, log)


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent
