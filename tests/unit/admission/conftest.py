from pathlib import Path

import pytest

from services.common.identity import BaseFingerprint, fingerprint_base
from tests.unit.admission.build import BASE_TENSORS
from tests.unit.identity.build import Base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseFingerprint:
    """The fingerprint of a Llama of two layers."""
    return fingerprint_base(Base(tensors=BASE_TENSORS).write(tmp_path_factory.mktemp("base") / "llama"), threads=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where an adapter goes."""
    return tmp_path / "adapter"
