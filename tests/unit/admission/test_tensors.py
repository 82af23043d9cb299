from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.common.admission.base import biased_modules
from services.common.admission.config import parse_config
from services.common.admission.plan import AdapterPlan
from services.common.admission.tensors import plan_adapter
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, LinearModule
from tests.unit.admission.build import PREFIX, Adapter, filled, lora_tensors
from tests.unit.admission.test_config import configured

LAYER = "model.layers.0.self_attn.q_proj"


def plan(adapter: Adapter, base: BaseFingerprint) -> AdapterPlan:
    config = parse_config(configured(**adapter.config))
    return plan_adapter(config, adapter.entries, base.modules, biased=biased_modules(base))


def refusal(adapter: Adapter, base: BaseFingerprint) -> DomainError:
    with pytest.raises(DomainError) as caught:
        plan(adapter, base)
    return caught.value


def test_every_tensor_has_its_place(base: BaseFingerprint) -> None:
    made = plan(Adapter(), base)

    layer = made.layers[0]
    assert [layer.module for layer in made.layers] == [
        f"model.layers.{number}.self_attn.{side}_proj" for number in (0, 1) for side in "qv"
    ]
    assert (layer.kind, layer.a.shape, layer.b.shape, layer.scaling) == ("Linear", (2, 8), (8, 2), 2.0)
    assert made.tensor_count == 8
    assert {entry.name for entry in made.applied} == set(Adapter().tensors)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_three_number_formats_are_served(base: BaseFingerprint, dtype: str) -> None:
    assert plan(Adapter(lora_tensors(dtype=dtype)), base).tensor_count == 8


def test_magnitudes_and_biases_belong_to_their_layers(base: BaseFingerprint) -> None:
    vectors = {
        f"{PREFIX}model.layers.{number}.self_attn.{side}_proj.%s": filled((size,))
        for number in (0, 1)
        for side, size in (("q", 8), ("v", 4))
    }
    magnitudes = {name % "lora_magnitude_vector": tensor for name, tensor in vectors.items()}
    biases = {name % "lora_B.bias": tensor for name, tensor in vectors.items()}

    dora = plan(Adapter().configured(use_dora=True).with_tensors(magnitudes), base)
    biased = plan(Adapter().configured(lora_bias=True).with_tensors(biases), base)

    assert [layer.magnitude and layer.magnitude.shape for layer in dora.layers] == [(8,), (4,)] * 2
    assert [layer.bias and layer.bias.shape for layer in biased.layers] == [(8,), (4,)] * 2
    assert dora.tensor_count == biased.tensor_count == 12


def test_a_replaced_module_is_no_lora_target(base: BaseFingerprint) -> None:
    adapter = Adapter().configured(modules_to_save=["lm_head"], target_modules=["q_proj", "v_proj", "lm_head"])

    made = plan(adapter.with_tensors({f"{PREFIX}lm_head.weight": filled((16, 8))}), base)

    assert [(part.module, part.kind, part.bias) for part in made.replacements] == [("lm_head", "Linear", None)]
    assert made.tensor_count == 9


EMBEDDING: Mapping[str, Any] = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": filled((2, 16)),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": filled((8, 2)),
}


def test_lora_on_an_embedding_and_the_copy_peft_saves_along(base: BaseFingerprint) -> None:
    adapter = Adapter().configured(target_modules=["q_proj", "v_proj", "embed_tokens"]).with_tensors({**EMBEDDING})

    made = plan(adapter.with_tensors({f"{PREFIX}model.embed_tokens.base_layer.weight": filled((16, 8))}), base)

    layer = made.layers[0]
    assert (layer.module, layer.kind, layer.a.shape, layer.b.shape) == (
        "model.embed_tokens",
        "Embedding",
        (2, 16),
        (8, 2),
    )
    assert [copy.module for copy in made.copies] == ["model.embed_tokens"]
    assert made.tensor_count == 10


@pytest.mark.parametrize(
    ("reason", "adapter"),
    [
        ("TENSOR_UNKNOWN", Adapter().with_tensors({"model.layers.0.self_attn.q_proj.lora_A.weight": filled((2, 8))})),
        (
            "TENSOR_UNKNOWN",
            Adapter().with_tensors({"base_model.layers.0.self_attn.q_proj.lora_A.weight": filled((2, 8))}),
        ),
        ("MODULE_NOT_FOUND", Adapter().with_tensors({f"base_model.{LAYER}.lora_A.weight": filled((2, 8))})),
        ("TENSOR_UNKNOWN", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_A.default.weight": filled((2, 8))})),
        ("TENSOR_UNKNOWN", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_C.weight": filled((2, 8))})),
        ("TENSOR_UNKNOWN", Adapter().with_tensors({f"{PREFIX}{LAYER}.hada_w1_a": filled((2, 8))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}lm_head.modules_to_save.weight": filled((16, 8))})),
        ("TENSOR_UNKNOWN", Adapter().with_tensors({"\x1b[2J": filled((1,))})),
        ("DTYPE_NOT_SUPPORTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_A.weight": ("I32", (2, 8), bytes(64))})),
        (
            "DTYPE_NOT_SUPPORTED",
            Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_A.weight": ("F64", (2, 8), bytes(128))}),
        ),
        ("MODULE_NOT_FOUND", Adapter(lora_tensors((0, 1, 2)))),
        ("MODULE_NOT_FOUND", Adapter().with_tensors({f"{PREFIX}{PREFIX}{LAYER}.lora_A.weight": filled((2, 8))})),
        ("MODULE_NOT_FOUND", Adapter().with_tensors({f"{PREFIX}model.norm.weight": filled((8,))})),
        ("MODULE_NOT_FOUND", Adapter().configured(target_modules=["q_proj", "v_proj", "c_attn"])),
        ("MODULE_NOT_FOUND", Adapter().configured(modules_to_save=["score"])),
        ("MODULE_NOT_FOUND", Adapter().configured(target_modules=".*c_attn")),
        ("TENSOR_MISSING", Adapter().without("layers.0.self_attn.q_proj.lora_B.weight")),
        ("TENSOR_MISSING", Adapter().without("layers.0.self_attn.q_proj.lora_A.weight")),
        ("TENSOR_MISSING", Adapter(lora_tensors((0,)))),
        ("TENSOR_MISSING", Adapter({})),
        ("TENSOR_MISSING", Adapter().configured(use_dora=True)),
        ("TENSOR_MISSING", Adapter().configured(lora_bias=True)),
        ("TENSOR_MISSING", Adapter().configured(modules_to_save=["lm_head"])),
        ("TENSOR_MISSING", Adapter().configured(target_modules=["q_proj", "v_proj", "o_proj"])),
        ("TENSOR_UNEXPECTED", Adapter().configured(target_modules=["q_proj"])),
        ("TENSOR_UNEXPECTED", Adapter().configured(layers_to_transform=[0])),
        ("TENSOR_UNEXPECTED", Adapter().configured(exclude_modules=["v_proj"])),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_B.bias": filled((8,))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_magnitude_vector": filled((8,))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_embedding_A": filled((2, 8))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.weight": filled((8, 8))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.bias": filled((8,))})),
        ("TENSOR_UNEXPECTED", Adapter().with_tensors({f"{PREFIX}{LAYER}.base_layer.weight": filled((8, 8))})),
        (
            "TENSOR_UNEXPECTED",
            Adapter()
            .configured(modules_to_save=["lm_head"])
            .with_tensors({f"{PREFIX}lm_head.weight": filled((16, 8)), f"{PREFIX}lm_head.bias": filled((16,))}),
        ),
        ("SHAPE_MISMATCH", Adapter().configured(r=4)),
        ("SHAPE_MISMATCH", Adapter().configured(rank_pattern={"q_proj": 4})),
        ("SHAPE_MISMATCH", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_A.weight": filled((8, 2))})),
        ("SHAPE_MISMATCH", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_B.weight": filled((9, 2))})),
        ("SHAPE_MISMATCH", Adapter().with_tensors({f"{PREFIX}{LAYER}.lora_B.weight": filled((8, 2, 1))})),
        (
            "SHAPE_MISMATCH",
            Adapter()
            .configured(modules_to_save=["lm_head"])
            .with_tensors({f"{PREFIX}lm_head.weight": filled((16, 9))}),
        ),
        ("CONFIG_INVALID", Adapter().configured(modules_to_save=["proj"])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_fault_has_a_reason_of_its_own(base: BaseFingerprint, reason: str, adapter: Adapter) -> None:
    error = refusal(adapter, base)

    assert error.reason == f"ADAPTER_{reason}", error.message
    assert error.message.isprintable()
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    ("feature", "changes", "tensors"),
    [
        ("resized embeddings", {"modules_to_save": ["embed_tokens"]}, {"model.embed_tokens.weight": (18, 8)}),
        ("resized embeddings", {"modules_to_save": ["lm_head"]}, {"lm_head.weight": (18, 8)}),
        ("resized embeddings", {}, {"model.embed_tokens.weight": (18, 8), "lm_head.weight": (18, 8)}),
        ("resized embeddings", {"target_modules": ["embed_tokens"]}, {"model.embed_tokens.lora_embedding_A": (2, 18)}),
        ("use_dora", {"use_dora": True, "target_modules": ["embed_tokens"]}, {}),
        ("lora_bias", {"lora_bias": True, "target_modules": ["embed_tokens"]}, {}),
        ("modules_to_save", {"modules_to_save": ["input_layernorm"]}, {"model.layers.0.input_layernorm.weight": (8,)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_served_is_refused_by_name(
    base: BaseFingerprint, feature: str, changes: dict[str, Any], tensors: dict[str, tuple[int, ...]]
) -> None:
    adapter = Adapter().configured(**changes)
    adapter = adapter.with_tensors({PREFIX + name: filled(shape) for name, shape in tensors.items()})

    error = refusal(adapter, base)

    assert (error.reason, error.metadata) == (Reason.ADAPTER_NOT_SUPPORTED, {"feature": feature})


def test_a_resized_embedding_is_told_with_both_row_counts(base: BaseFingerprint) -> None:
    tensors = {f"{PREFIX}model.embed_tokens.weight": filled((18, 8))}

    error = refusal(Adapter().configured(modules_to_save=["embed_tokens"]).with_tensors(tensors), base)

    assert "has 18 rows" in error.message
    assert "16 in the base" in error.message


@pytest.mark.parametrize("kind", ["Experts", "Router"])
def test_experts_and_routers_are_refused_by_name(base: BaseFingerprint, kind: str) -> None:
    modules = tuple(replace(module, kind=kind) if module.name == LAYER else module for module in base.modules)

    with pytest.raises(DomainError) as caught:
        plan_adapter(parse_config(configured()), Adapter().entries, modules)

    assert caught.value.metadata == {"feature": "experts"}


def test_experts_of_another_version_of_transformers_are_refused_by_name(base: BaseFingerprint) -> None:
    tensors = {f"{PREFIX}model.layers.0.block_sparse_moe.experts.0.w1.lora_A.weight": filled((2, 8))}

    assert refusal(Adapter().with_tensors(tensors), base).metadata == {"feature": "experts"}


def test_a_replaced_module_brings_its_bias_where_the_base_has_one(base: BaseFingerprint) -> None:
    config = parse_config(configured(modules_to_save=["lm_head"]))
    weight = {f"{PREFIX}lm_head.weight": filled((16, 8))}
    bias = {f"{PREFIX}lm_head.bias": filled((16,))}

    with pytest.raises(DomainError) as caught:
        plan_adapter(config, Adapter().with_tensors(weight).entries, base.modules, biased={"lm_head"})
    made = plan_adapter(config, Adapter().with_tensors({**weight, **bias}).entries, base.modules, biased={"lm_head"})
    unknown = plan_adapter(config, Adapter().with_tensors({**weight, **bias}).entries, base.modules)

    assert caught.value.reason is Reason.ADAPTER_TENSOR_MISSING
    assert made == unknown
    assert made.replacements[0].bias is not None


def test_conv1d_and_linear_keep_their_own_order_of_sides() -> None:
    config = parse_config(configured(target_modules=["c_fc"], modules_to_save=["c_attn"]))
    modules = [LinearModule("h.0.c_fc", "Conv1D", 8, 32), LinearModule("h.0.c_attn", "Conv1D", 8, 24)]
    tensors = {
        f"{PREFIX}h.0.c_fc.lora_A.weight": filled((2, 8)),
        f"{PREFIX}h.0.c_fc.lora_B.weight": filled((32, 2)),
        f"{PREFIX}h.0.c_attn.weight": filled((8, 24)),
        f"{PREFIX}h.0.c_attn.bias": filled((24,)),
    }

    made = plan_adapter(config, Adapter(tensors).entries, modules)

    assert made.tensor_count == 4
