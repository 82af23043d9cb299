"""Whose word counts, request by request."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.manifest import Provenance
from services.common.resource_names import AdapterVersionName
from services.common.signing import SigningKey, TrustedKeys, TrustStore
from services.inference.model import AdapterVersion
from services.inference.policy import AdmissionPolicy
from tests.support.keys import STRANGERS_KEY, TEST_KEY, signed
from tests.support.registry import manifest


def version(
    *, seed: int = 0, key: SigningKey = TEST_KEY, provenance: Provenance = Provenance.WITNESSED
) -> AdapterVersion:
    described = manifest(seed=seed, provenance=provenance)
    name = AdapterVersionName("default", "tiny", described.digest)
    return AdapterVersion(name, described, described.to_bytes(), signed(described, key))


def policy(directory: Path, admit: Provenance = Provenance.DECLARED) -> AdmissionPolicy:
    (directory / "own.pem").write_bytes(TEST_KEY.public.to_pem())
    return AdmissionPolicy(TrustStore.open((directory,)), admit=admit, allow_derivatives=False)


def refusal(policy: AdmissionPolicy, version: AdapterVersion) -> Reason:
    with pytest.raises(DomainError) as caught:
        policy.check(version)
    return caught.value.reason


def test_signature_is_verified_once_for_as_long_as_the_same_keys_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    verify = TrustedKeys.verify

    def counted(keys: TrustedKeys, envelope: bytes | None, manifest: bytes) -> str:
        calls.append(manifest)
        return verify(keys, envelope, manifest)

    monkeypatch.setattr(TrustedKeys, "verify", counted)
    chosen = policy(tmp_path)
    for _ in range(3):
        chosen.check(version())
    assert len(calls) == 1
    chosen.check(version(seed=1))
    assert len(calls) == 2
    (tmp_path / "new.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    chosen.check(version())
    assert len(calls) == 3


def test_signature_that_passed_stops_counting_with_its_key(tmp_path: Path) -> None:
    chosen = policy(tmp_path)
    chosen.check(version())
    (tmp_path / "own.pem").unlink()
    assert refusal(chosen, version()) is Reason.SIGNATURE_UNTRUSTED


def test_every_fault_of_a_signature_has_its_reason_also_after_one_that_passed(tmp_path: Path) -> None:
    chosen, good = policy(tmp_path), version()
    chosen.check(good)
    assert refusal(chosen, replace(good, envelope=b"")) is Reason.SIGNATURE_MISSING
    assert refusal(chosen, replace(good, envelope=version(seed=1).envelope)) is Reason.SIGNATURE_INVALID
    assert refusal(chosen, replace(good, envelope=b"{}")) is Reason.SIGNATURE_INVALID
    assert refusal(chosen, version(key=STRANGERS_KEY)) is Reason.SIGNATURE_UNTRUSTED
    chosen.check(good)


def test_provenance_is_asked_after_the_signature(tmp_path: Path) -> None:
    strict = policy(tmp_path, Provenance.WITNESSED)
    strict.check(version())
    assert refusal(strict, version(provenance=Provenance.DECLARED)) is Reason.PROVENANCE_NOT_ADMITTED
    stranger = version(provenance=Provenance.DECLARED, key=STRANGERS_KEY)
    assert refusal(strict, stranger) is Reason.SIGNATURE_UNTRUSTED
    policy(tmp_path).check(version(provenance=Provenance.DECLARED))
