from pathlib import Path
from typing import Any

import pytest

from cli.derivation import check_derived, origin_name
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, fingerprint_base
from tests.unit.admission.build import BASE_TENSORS
from tests.unit.identity.build import Base, changed


def fingerprint(place: Path, base: Base, *, derived_from: str | None = None) -> BaseFingerprint:
    return fingerprint_base(base.write(place), threads=1, derived_from=derived_from)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> BaseFingerprint:
    return fingerprint(tmp_path_factory.mktemp("base") / "origin", Base(tensors=BASE_TENSORS))


@pytest.mark.parametrize(
    "copy",
    [
        Base(tensors=BASE_TENSORS),
        Base(tensors=changed(BASE_TENSORS, "model.norm.weight")),
        Base(tensors=BASE_TENSORS).configured(rms_norm_eps=1e-5),
    ],
    ids=["same", "weights", "configuration"],
)
def test_what_can_be_a_copy_is_accepted(origin: BaseFingerprint, tmp_path: Path, copy: Base) -> None:
    check_derived(fingerprint(tmp_path / "copy", copy, derived_from=origin.id), "copy", origin, "origin")


def test_a_base_of_another_architecture_is_refused_with_what_differs(origin: BaseFingerprint, tmp_path: Path) -> None:
    other = fingerprint(
        tmp_path / "other",
        Base(tensors=BASE_TENSORS).configured(architectures=["Qwen2ForCausalLM"]),
        derived_from=origin.id,
    )
    with pytest.raises(DomainError) as raised:
        check_derived(other, "copy", origin, "origin")
    error = raised.value
    assert error.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert error.metadata == {"verdict": "ARCHITECTURE_DIFFERS", "expected_id": origin.id, "actual_id": other.id}
    first, headline, difference, advice = error.message.splitlines()
    assert first == f"copy ({other.id[:12]}) cannot be derived from origin ({origin.id[:12]})."
    assert headline == "They are different architectures:"
    assert difference == f"  architecture: {origin.architecture} there, Qwen2ForCausalLM here"
    assert advice.endswith("leave out --derived-from.")


def test_an_origin_is_called_by_its_id_where_it_is_known() -> None:
    def base(name: str, fingerprint_id: str, derived_from: str = "") -> dict[str, Any]:
        return {"id": name, "fingerprint": {"id": fingerprint_id, "derived_from": derived_from}}

    known = [base("small", "a" * 64), base("copy", "b" * 64, "a" * 64), base("orphan", "c" * 64, "d" * 64)]
    assert [origin_name(known, row) for row in known] == ["", "small", "d" * 12]
