import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.common.admission.directory import CONFIG_FILE, ENVELOPE_FILE, MANIFEST_FILE, WEIGHTS_FILE
from services.common.admission.pipeline import CHECKS, Outcome, Report, Verdict, verify_adapter
from services.common.admission.seal import make_declared
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, fingerprint_base
from services.common.manifest import AdapterManifest, Provenance
from services.common.probe import Probe
from services.common.signing import TrustedKeys
from tests.support.keys import STRANGERS_KEY, TEST_KEY, TEST_TRUST, signed
from tests.unit.admission.build import BASE_MODEL, BASE_TENSORS, PREFIX, Adapter, filled, put_manifest, seal
from tests.unit.identity.build import Base, changed


def verify(directory: Path, base: Any, *, undeclared: bool = False, trust: TrustedKeys = TEST_TRUST) -> Report:
    return verify_adapter(directory, base, trust, base_name="BASE", allow_undeclared=undeclared)


def outcomes(report: Report) -> dict[str, str]:
    return {check.name: check.outcome.value for check in report.checks}


def ended_at(report: Report, name: str) -> bool:
    """Everything before passed, and everything after was skipped."""
    place = CHECKS.index(name)
    expected = ["pass"] * place + ["fail"] + ["skipped"] * (len(CHECKS) - place - 1)
    return [check.outcome.value for check in report.checks] == expected


def test_a_sealed_adapter_is_admissible(directory: Path, base: BaseFingerprint) -> None:
    seal(Adapter().write(directory), base)

    report = verify(directory, base)

    assert (report.verdict, report.reason, report.provenance) == (Verdict.ADMISSIBLE, None, "declared")
    assert outcomes(report) == dict.fromkeys(CHECKS[:-1], "pass") | {"probe": "skipped"}
    assert "BASE" in report.sentence
    assert report.differences == ()


def test_without_a_manifest_the_adapter_is_refused(directory: Path, base: BaseFingerprint) -> None:
    report = verify(Adapter().write(directory), base)

    assert (report.verdict, report.reason, report.provenance) == (
        Verdict.REFUSED,
        Reason.MANIFEST_MISSING,
        "undeclared",
    )
    assert ended_at(report, "manifest")


def test_an_undeclared_adapter_is_decided_by_everything_else(directory: Path, base: BaseFingerprint) -> None:
    report = verify(Adapter().write(directory), base, undeclared=True)

    skipped = ("manifest", "signature", "base", "digest", "probe")
    assert (report.verdict, report.provenance) == (Verdict.ADMISSIBLE, "undeclared")
    assert outcomes(report) == dict.fromkeys(CHECKS, "pass") | dict.fromkeys(skipped, "skipped")


def test_a_manifest_that_is_there_must_be_right_though_none_is_asked_for(
    directory: Path, base: BaseFingerprint
) -> None:
    seal(Adapter().write(directory), base)
    (directory / ENVELOPE_FILE).unlink()

    assert verify(directory, base, undeclared=True).reason is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize(
    "base_of_another", [Base(tensors=changed(BASE_TENSORS, "model.norm.weight")), Base(tensors=BASE_TENSORS).configured(rms_norm_eps=1e-5)],
    ids=["weights", "configuration"],
)  # fmt: skip
def test_another_base_is_refused_with_all_differences(
    directory: Path, base: BaseFingerprint, tmp_path: Path, base_of_another: Base
) -> None:
    seal(Adapter().write(directory), base)
    other = fingerprint_base(base_of_another.write(tmp_path / "other"), threads=1)

    report = verify(directory, lambda: other)

    assert report.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert ended_at(report, "base")
    assert report.differences
    assert BASE_MODEL in report.sentence
    assert other.id[:12] in report.sentence
    assert report.metadata.keys() == {"verdict", "expected_id", "actual_id"}
    assert (report.metadata["expected_id"], report.metadata["actual_id"]) == (base.id, other.id)


def test_the_base_is_not_fingerprinted_for_an_adapter_that_is_refused_before(directory: Path) -> None:
    asked: list[int] = []

    def compute() -> BaseFingerprint:
        asked.append(1)
        raise AssertionError

    verify(Adapter().write(directory), compute)

    assert not asked


def test_a_base_that_cannot_be_used_is_not_the_adapters_fault(directory: Path, base: BaseFingerprint) -> None:
    seal(Adapter().write(directory), base)

    def compute() -> BaseFingerprint:
        raise DomainError(Reason.SAFETENSORS_INVALID, "model.safetensors is truncated.")

    report = verify(directory, compute)

    assert (report.verdict, report.reason) == (Verdict.UNUSABLE, Reason.SAFETENSORS_INVALID)
    assert ended_at(report, "base")


@pytest.mark.parametrize("kind", ["absent", "empty", "file"])
def test_what_is_no_adapter_is_unusable(directory: Path, base: BaseFingerprint, kind: str) -> None:
    if kind == "empty":
        directory.mkdir()
    elif kind == "file":
        directory.touch()

    report = verify(directory, base)

    assert (report.verdict, report.reason) == (Verdict.UNUSABLE, Reason.ADAPTER_FILES_MISSING)
    assert ended_at(report, "files")


def edit_config(directory: Path, **changes: Any) -> None:
    document = {**json.loads((directory / CONFIG_FILE).read_bytes()), **changes}
    (directory / CONFIG_FILE).write_text(json.dumps(document))


def edit_manifest(directory: Path, change: Callable[[AdapterManifest], AdapterManifest]) -> None:
    put_manifest(directory, change(AdapterManifest.from_bytes((directory / MANIFEST_FILE).read_bytes())))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("step", "reason", "damage"),
    [
        ("files", Reason.ADAPTER_UNSAFE_FILES, lambda d: (d / "adapter_model.bin").touch()),
        ("files", Reason.ADAPTER_FILES_MISSING, lambda d: (d / WEIGHTS_FILE).unlink()),
        ("files", Reason.ADAPTER_FILES_MISSING, lambda d: (d / CONFIG_FILE).unlink()),
        ("manifest", Reason.MANIFEST_INVALID, lambda d: (d / MANIFEST_FILE).write_text("{}")),
        ("manifest", Reason.MANIFEST_INVALID, lambda d: edit_manifest(d, lambda m: replace(m, base={**m.base, "id": "0" * 64}))),
        ("manifest", Reason.LIMIT_EXCEEDED, lambda d: os.truncate(d / MANIFEST_FILE, 2**21)),
        ("signature", Reason.SIGNATURE_MISSING, lambda d: (d / ENVELOPE_FILE).unlink()),
        ("signature", Reason.SIGNATURE_INVALID, lambda d: (d / ENVELOPE_FILE).write_text("{}")),
        (
            "signature",
            Reason.SIGNATURE_INVALID,
            lambda d: (d / MANIFEST_FILE).write_bytes(
                replace(AdapterManifest.from_bytes((d / MANIFEST_FILE).read_bytes()), stop_token_ids=(1,)).to_bytes()
            ),
        ),
        (
            "signature",
            Reason.SIGNATURE_UNTRUSTED,
            lambda d: (d / ENVELOPE_FILE).write_bytes(
                signed(AdapterManifest.from_bytes((d / MANIFEST_FILE).read_bytes()), STRANGERS_KEY)
            ),
        ),
        ("config", Reason.ARTIFACT_CORRUPT, lambda d: edit_config(d, lora_alpha=400)),
        ("config", Reason.ADAPTER_CONFIG_MISMATCH, lambda d: edit_manifest(d, lambda m: replace(m, peft={**m.peft, "r": 3}))),
        ("config", Reason.ADAPTER_FILES_MISSING, lambda d: edit_manifest(d, lambda m: replace(m, files=m.files[1:]))),
        ("header", Reason.ARTIFACT_CORRUPT, lambda d: flip(d / WEIGHTS_FILE, 40)),
        ("header", Reason.ARTIFACT_CORRUPT, lambda d: os.truncate(d / WEIGHTS_FILE, 500)),
        ("header", Reason.ADAPTER_FILES_MISSING, lambda d: edit_manifest(d, lambda m: replace(m, files=m.files[:1]))),
        ("digest", Reason.ARTIFACT_CORRUPT, lambda d: flip(d / WEIGHTS_FILE, -1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_damaged_adapter_is_refused_at_its_step(
    directory: Path, base: BaseFingerprint, step: str, reason: Reason, damage: Damage
) -> None:
    seal(Adapter().write(directory), base)
    damage(directory)

    report = verify(directory, base)

    assert (report.verdict, report.reason) == (Verdict.REFUSED, reason), report.sentence
    if reason is not Reason.ADAPTER_FILES_MISSING or step == "files":
        assert ended_at(report, step)


def test_a_listed_file_beside_the_two_is_held_against_its_digest(directory: Path, base: BaseFingerprint) -> None:
    Adapter(files={"notes.txt": b"as published"}).write(directory)
    manifest = make_declared(directory, base, BASE_MODEL)
    notes = replace(manifest.files[0], path="notes.txt", size=12, sha256="a" * 64)
    put_manifest(directory, replace(manifest, files=(*manifest.files, notes)))

    report = verify(directory, base)
    (directory / "notes.txt").unlink()
    without = verify(directory, base)

    assert ended_at(report, "digest")
    assert (report.reason, without.reason) == (Reason.ARTIFACT_CORRUPT, Reason.ADAPTER_FILES_MISSING)


LAYER = f"{PREFIX}model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("step", "reason", "adapter"),
    [
        ("config", Reason.ADAPTER_CONFIG_INVALID, Adapter().configured(r=0)),
        ("config", Reason.ADAPTER_NOT_SUPPORTED, Adapter().configured(bias="all")),
        ("tensors", Reason.ADAPTER_TENSOR_MISSING, Adapter().without("layers.0.self_attn.q_proj.lora_B.weight")),
        ("values", Reason.ADAPTER_NOT_FINITE, Adapter().with_tensors({f"{LAYER}.lora_A.weight": filled((2, 8), float("nan"))})),
        ("effect", Reason.ADAPTER_NO_EFFECT, Adapter().configured(lora_alpha=0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_undeclared_adapter_is_checked_as_strictly(
    directory: Path, base: BaseFingerprint, step: str, reason: Reason, adapter: Adapter
) -> None:
    adapter.write(directory)

    report = verify(directory, base, undeclared=True)

    assert (report.verdict, report.reason) == (Verdict.REFUSED, reason)
    assert outcomes(report)[step] == Outcome.FAIL
    with pytest.raises(DomainError) as caught:
        make_declared(directory, base, BASE_MODEL)
    assert caught.value.reason is reason


def test_every_report_has_every_check_once_and_in_order(directory: Path, base: BaseFingerprint) -> None:
    reports = [verify(directory, base)]
    reports.append(verify(Adapter().write(directory), base))
    seal(directory, base)
    reports.append(verify(directory, base))

    assert [tuple(check.name for check in report.checks) for report in reports] == [CHECKS] * 3


@pytest.mark.parametrize("probe", [None, Probe((1,), (2,), (0.5,), (1.5,))], ids=["without", "with"])
def test_what_was_trained_here_has_a_probe(directory: Path, base: BaseFingerprint, probe: Probe | None) -> None:
    declared = seal(Adapter().write(directory), base)
    put_manifest(directory, replace(declared, provenance=Provenance.WITNESSED, probe=probe))

    report = verify(directory, base)

    assert (report.reason is None) is (probe is not None)
    if probe is None:
        assert report.reason is Reason.PROBE_MISMATCH
        assert ended_at(report, "probe")
    else:
        assert TEST_KEY.public.key_id[:12] in report.sentence
