from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.common.probe import Probe
from services.trainer.model import Claim
from services.trainer.recipe.protocol import Finished
from services.trainer.storage.memory import MemoryStore
from services.trainer.worker.output import Trained, list_output, make_manifest
from tests.support.plans import PLAN
from tests.support.reports import make_report
from tests.unit.admission.build import Adapter
from tests.unit.recipe.conftest import make_plan
from tests.unit.trainer.stores import claimed

FILES = (ManifestFile("adapter_config.json", 2, "ef" * 32),)
PROBE = Probe((3,), (7, 9), (0.25, 2.0), (1.5, -2.0))


def trained(**changes: Any) -> Trained:
    told: dict[str, Any] = {
        "steps": 3,
        "final_loss": 0.1,
        "trained_tokens": 9,
        "validation_loss": None,
        "chat_template": "{{ x }}",
        "stop_token_ids": (1, 2),
        "peft": {"r": 4, "target_modules": ["a"]},
        "probe": PROBE,
        "report": make_report(),
        "base_summary": {"id": "cd" * 32},
        "library_versions": {"torch": "2"},
        "compute": {"threads": 2},
    }
    return Trained(Finished(**{**told, **changes}), make_plan(), PLAN.hopeless)


@pytest.fixture
async def claim() -> Claim:
    return (await claimed(MemoryStore()))[1]


async def test_a_manifest_says_what_was_trained_on_what_and_that_it_was_seen(claim: Claim) -> None:
    made = make_manifest(claim, trained(), FILES)
    assert made == AdapterManifest.from_bytes(made.to_bytes())
    assert (made.provenance, made.probe, made.files) == (Provenance.WITNESSED, PROBE, FILES)
    assert made.base_fingerprint_id == claim.job.base_fingerprint_id
    assert made.training["job"] == str(claim.job.name)
    assert (made.training["force"], made.training["hopeless"]) == (False, ["TOO_FEW_STEPS"])
    assert made.report == make_report()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"base_summary": {"id": "ab" * 32}}, Reason.BASE_FINGERPRINT_MISMATCH),
        ({"base_summary": {}}, Reason.BASE_FINGERPRINT_MISMATCH),
        ({"stop_token_ids": (-1,)}, Reason.MANIFEST_INVALID),
        ({"peft": {"r": 2**60}}, Reason.MANIFEST_INVALID),
        ({"chat_template": "x" * 2**20}, Reason.MANIFEST_INVALID),
        ({"chat_template": "\ud800"}, Reason.MANIFEST_INVALID),
        ({"probe": replace(PROBE, token_ids=(7, 7))}, Reason.MANIFEST_INVALID),
        ({"report": replace(make_report(), reasons=("x" * 5000,))}, Reason.MANIFEST_INVALID),
    ],
    ids=["another base", "no base", "token", "number", "too large", "no text", "probe", "report"],
)
async def test_what_a_recipe_tells_is_not_believed_as_it_is(claim: Claim, told: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(DomainError) as raised:
        make_manifest(claim, trained(**told), FILES)
    assert raised.value.reason is reason


def test_an_adapter_is_two_files(tmp_path: Path) -> None:
    (Adapter().write(tmp_path) / "optimizer.pt").touch()
    files = list_output(tmp_path)
    assert [file.path for file in files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert [file.header_sha256 is None for file in files] == [True, False]


CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (CONFIG, None, Reason.ADAPTER_UNSAFE_FILES),
        (CONFIG, b"{", Reason.ADAPTER_CONFIG_INVALID),
        (CONFIG, b"[]", Reason.ADAPTER_CONFIG_INVALID),
        (CONFIG, b'{"peft_type": 1' + b" " * 2**20 + b"}", Reason.LIMIT_EXCEEDED),
        (WEIGHTS, None, Reason.ADAPTER_UNSAFE_FILES),
        (WEIGHTS, b"\x80\x04pickle, as torch.save writes it", Reason.ADAPTER_UNSAFE_FILES),
        (WEIGHTS, b"", Reason.SAFETENSORS_INVALID),
    ],
    ids=["link", "no JSON", "no object", "large", "linked weights", "pickle", "empty"],
)
def test_anything_else_is_not_published(tmp_path: Path, file: str, content: bytes | None, reason: Reason) -> None:
    path = Adapter().write(tmp_path / "output") / file
    if content is None:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(content)
    with pytest.raises(DomainError) as raised:
        list_output(path.parent)
    assert raised.value.reason is reason
    assert str(tmp_path) not in raised.value.message
