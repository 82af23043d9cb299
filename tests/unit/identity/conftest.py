from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from services.common.identity import BaseFingerprint, fingerprint_base
from tests.unit.identity.build import Base

Fingerprint = Callable[[Base], BaseFingerprint]


@pytest.fixture
def fingerprint(tmp_path: Path) -> Fingerprint:
    """Write a base into a directory of its own and fingerprint it."""
    numbers = count()

    def compute(base: Base) -> BaseFingerprint:
        return fingerprint_base(base.write(tmp_path / f"base {next(numbers)}"), threads=2)

    return compute
