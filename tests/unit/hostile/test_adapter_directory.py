"""Whatever lies in an adapter's directory, the offline checks end in a verdict."""

import time
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.admission.pipeline import Verdict, verify_adapter
from services.common.identity import BaseFingerprint, fingerprint_base
from services.common.signing import sign
from tests.support.keys import TEST_KEY, TEST_TRUST
from tests.unit.admission.build import Adapter, seal
from tests.unit.hostile.examination import MAX_SECONDS
from tests.unit.hostile.mutations import mutate
from tests.unit.identity.build import Base

MANIFEST, ENVELOPE = "tenon.manifest.json", "tenon.manifest.dsse.json"
FILES: Final = ("adapter_config.json", "adapter_model.safetensors", MANIFEST, ENVELOPE)
PROOF_SECONDS: Final = 20.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseFingerprint:
    return fingerprint_base(Base().write(tmp_path_factory.mktemp("base") / "llama"), threads=1)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, base: BaseFingerprint) -> dict[str, bytes]:
    """The files of a right adapter."""
    directory = Adapter().write(tmp_path_factory.mktemp("adapter") / "right")
    seal(directory, base)
    return {name: (directory / name).read_bytes() for name in FILES}


def examine(directory: Path, files: dict[str, bytes], base: BaseFingerprint, random: Random) -> Verdict:
    """Damage one file; the manifest may be signed again, or be left out so that nothing but the files decides."""
    name = random.choice(FILES)
    damaged = files | {name: mutate(files[name], random, list(files.values()))}
    if name == MANIFEST and random.random() < 0.8:
        damaged[ENVELOPE] = sign(damaged[MANIFEST], TEST_KEY).to_bytes()
    undeclared = name in FILES[:2] and random.random() < 0.8
    for path, data in damaged.items():
        (directory / path).unlink(missing_ok=True)
        if not undeclared or path in FILES[:2]:
            (directory / path).write_bytes(data)
    started = time.thread_time()
    report = verify_adapter(directory, base, TEST_TRUST, base_name="tiny", allow_undeclared=undeclared)
    assert time.thread_time() - started < MAX_SECONDS
    assert (report.reason is None) == (report.verdict is Verdict.ADMISSIBLE)
    assert report.sentence
    return report.verdict


@given(seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files(seed: int, sealed: dict[str, bytes], base: BaseFingerprint, tmp_path: Path) -> None:
    examine(tmp_path, sealed, base, Random(seed))


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_damaged_files_for_a_long_time(
    sealed: dict[str, bytes], base: BaseFingerprint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(0)
    verdicts = []
    until = time.monotonic() + PROOF_SECONDS
    while time.monotonic() < until:
        verdicts.append(examine(tmp_path, sealed, base, random))
    with capsys.disabled():
        print(f"\nadapter directory: {len(verdicts)} tried, {verdicts.count(Verdict.ADMISSIBLE)} admissible")
    assert len(verdicts) > 500
    assert 0 < verdicts.count(Verdict.ADMISSIBLE) < len(verdicts) / 2
