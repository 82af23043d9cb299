"""What tests of every kind use."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Several processes share two cores: how long one example waits for its turn says nothing about it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent
