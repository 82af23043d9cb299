"""What PEFT saves must pass, in every served variant on every architecture, with PEFT's own modules and scales."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.admission.examination import Examination
from services.common.admission.pipeline import Verdict, verify_adapter
from services.common.admission.plan import AdapterPlan
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, fingerprint_base
from tests.support.keys import TEST_TRUST
from tests.support.tiny_bases import make_tiny_base
from tests.unit.admission.peft_adapters import ATTENTION, VARIANTS, save_adapter, variant

Bases = Callable[[str], tuple[Path, BaseFingerprint]]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """A tiny base of an architecture and its fingerprint, made once."""
    made: dict[str, tuple[Path, BaseFingerprint]] = {}

    def get(architecture: str) -> tuple[Path, BaseFingerprint]:
        if architecture not in made:
            path = make_tiny_base(tmp_path_factory.mktemp("bases") / architecture, architecture)
            made[architecture] = path, fingerprint_base(path, threads=1)
        return made[architecture]

    return get


def plan_of(directory: Path, fingerprint: BaseFingerprint) -> AdapterPlan:
    with Examination(directory, fingerprint) as examination:
        examination.files()
        examination.load_base()
        examination.config()
        examination.header()
        examination.tensors()
        return examination.plan


@pytest.mark.parametrize("architecture", ATTENTION)
@pytest.mark.parametrize("name", VARIANTS)
def test_what_peft_saves_is_admissible(bases: Bases, tmp_path: Path, architecture: str, name: str) -> None:
    path, fingerprint = bases(architecture)

    scales = save_adapter(path, tmp_path / "adapter", variant(name, architecture))

    plan = plan_of(tmp_path / "adapter", fingerprint)
    report = verify_adapter(
        tmp_path / "adapter", fingerprint, TEST_TRUST, base_name=architecture, allow_undeclared=True
    )
    assert {layer.module: layer.scaling for layer in plan.layers} == scales
    assert report.verdict is Verdict.ADMISSIBLE, report.sentence


@pytest.mark.parametrize(
    ("feature", "settings"),
    [
        ("bias", {"bias": "all"}),
        ("bias", {"bias": "lora_only"}),
        ("trainable_token_indices", {"trainable_token_indices": [1, 2]}),
        ("use_dora", {"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]}),
        ("modules_to_save", {"modules_to_save": ["input_layernorm"]}),
        ("ensure_weight_tying", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
        ("init_lora_weights", {"init_lora_weights": "pissa"}),
        ("init_lora_weights", {"init_lora_weights": "olora"}),
    ],
    ids=str,
)
def test_what_peft_saves_and_is_not_served_is_refused_by_name(
    bases: Bases, tmp_path: Path, feature: str, settings: dict[str, Any]
) -> None:
    path, fingerprint = bases("qwen2")
    save_adapter(path, tmp_path / "adapter", {"target_modules": ["q_proj"], **settings})

    with pytest.raises(DomainError) as caught:
        plan_of(tmp_path / "adapter", fingerprint)

    assert (caught.value.reason, caught.value.metadata) == (Reason.ADAPTER_NOT_SUPPORTED, {"feature": feature})


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_embeddings_that_peft_was_told_to_save_along_are_passed_over(
    bases: Bases, tmp_path: Path, architecture: str
) -> None:
    path, fingerprint = bases(architecture)
    save_adapter(path, tmp_path / "adapter", variant("plain", architecture), save_embedding_layers=True)

    report = verify_adapter(
        tmp_path / "adapter", fingerprint, TEST_TRUST, base_name=architecture, allow_undeclared=True
    )

    assert report.verdict is Verdict.ADMISSIBLE, report.sentence
    assert len(plan_of(tmp_path / "adapter", fingerprint).copies) == 2


@pytest.mark.parametrize("name", ["plain", "embedding", "output", "saved-embedding", "saved-output"])
def test_a_resized_embedding_is_refused_by_name(bases: Bases, tmp_path: Path, name: str) -> None:
    path, fingerprint = bases("qwen2")
    save_adapter(path, tmp_path / "adapter", variant(name, "qwen2"), tokens=330)

    with pytest.raises(DomainError) as caught:
        plan_of(tmp_path / "adapter", fingerprint)

    assert caught.value.metadata == {"feature": "resized embeddings"}
