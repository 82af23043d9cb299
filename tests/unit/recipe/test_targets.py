"""Which layers get an adapter, in the shapes of five architectures."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.common.errors import DomainError, Reason
from services.trainer.recipe.model.adapter import attach, is_unchanged, trained_parameters
from services.trainer.recipe.model.targets import find_targets, linear_layers, output_layer
from services.trainer.recipe.protocol import RecipeHyperparameters
from tests.support.tiny_bases import ARCHITECTURES
from tests.unit.recipe.conftest import make_plan

LLAMA = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
EXPECTED = {
    "qwen2": LLAMA,
    "llama": LLAMA,
    "gpt2": ("c_attn", "c_fc", "c_proj"),
    "gpt_neox": ("dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"),
    "phi3": ("down_proj", "gate_up_proj", "o_proj", "qkv_proj"),
}


def build(architecture: str, **changes: Any) -> Any:
    config = AutoConfig.for_model(architecture, **{**ARCHITECTURES[architecture](32, 2, 64), **changes})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped


@pytest.mark.parametrize(("architecture", "names"), EXPECTED.items())
def test_every_linear_layer_but_the_head_is_found(architecture: str, names: tuple[str, ...]) -> None:
    model = build(architecture)
    targets = find_targets(model, RecipeHyperparameters())
    assert targets.names == names
    assert targets.transposed is (architecture == "gpt2")
    linear = dict(linear_layers(model))
    head = output_layer(model)
    adapted = attach(model, targets, make_plan(target_modules=names))
    with_lora = {name for name, layer in adapted.get_base_model().named_modules() if hasattr(layer, "lora_A")}
    assert with_lora == {name for name, layer in linear.items() if layer is not head}


@pytest.mark.parametrize("architecture", EXPECTED)
def test_the_shapes_of_a_and_b_are_those_of_the_layer(architecture: str) -> None:
    model = build(architecture)
    shapes = {
        name: layer.weight.shape for name, layer in linear_layers(model) if isinstance(layer.weight, torch.Tensor)
    }
    transposed = architecture == "gpt2"
    adapted = attach(model, find_targets(model, RecipeHyperparameters()), make_plan(lora_rank=4))
    for name, layer in adapted.get_base_model().named_modules():
        if hasattr(layer, "lora_A"):
            inputs, outputs = shapes[name] if transposed else shapes[name][::-1]
            assert layer.lora_A["default"].weight.shape == (4, inputs)
            assert layer.lora_B["default"].weight.shape == (outputs, 4)
    assert is_unchanged(adapted)
    assert all("lora_" in name for name, tensor in adapted.named_parameters() if tensor.requires_grad)
    assert {tensor.dtype for tensor in trained_parameters(adapted)} == {torch.float32}


def test_the_seed_decides_the_first_weights() -> None:
    def first(seed: int) -> torch.Tensor:
        model = build("qwen2")
        return trained_parameters(attach(model, find_targets(model, RecipeHyperparameters()), make_plan(seed=seed)))[
            0
        ].detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_only_what_is_asked_for_is_adapted() -> None:
    model = build("qwen2")
    targets = find_targets(model, RecipeHyperparameters(target_modules=("v_proj", "q_proj", "v_proj")))
    assert targets.names == ("q_proj", "v_proj")
    adapted = attach(model, targets, make_plan())
    assert len(trained_parameters(adapted)) == 2 * 2 * 2


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "c_attn", "proj", ""])
def test_a_name_that_is_no_target_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(DomainError, match="It has: down_proj, gate_proj, k_proj") as caught:
        find_targets(build("qwen2"), RecipeHyperparameters(target_modules=("q_proj", name)))
    assert caught.value.reason is Reason.TARGET_MODULES_NOT_FOUND
    assert caught.value.metadata["missing"] == name


def test_ranks_and_alphas_by_pattern() -> None:
    model = build("qwen2")
    asked = RecipeHyperparameters(
        rank_pattern={"q_proj": 2, "layers.1.self_attn.q_proj": 6}, alpha_pattern={"layers.1.*.*": 12.0}
    )
    adapted = attach(model, find_targets(model, asked), make_plan(lora_rank=4, lora_alpha=8.0)).get_base_model()
    found = {
        name: (layer.r["default"], layer.scaling["default"])
        for name, layer in adapted.named_modules()
        if hasattr(layer, "lora_A")
    }
    assert found["model.layers.0.self_attn.q_proj"] == (2, 4.0)
    assert found["model.layers.1.self_attn.q_proj"] == (6, 2.0)
    assert found["model.layers.0.self_attn.k_proj"] == (4, 2.0)
    assert found["model.layers.1.mlp.up_proj"] == (4, 3.0)


def test_targets_by_pattern() -> None:
    model = build("qwen2")
    asked = RecipeHyperparameters(target_modules=("mlp.*", "layers.0.*.q_proj"))
    targets = find_targets(model, asked)
    assert targets.names == ("layers.0.*.q_proj", "mlp.*")
    adapted = attach(model, targets, make_plan()).get_base_model()
    with_lora = {name for name, layer in adapted.named_modules() if hasattr(layer, "lora_A")}
    assert with_lora == {*targets.layers}
    assert with_lora == {"model.layers.0.self_attn.q_proj"} | {
        f"model.layers.{layer}.mlp.{name}_proj" for layer in (0, 1) for name in ("gate", "up", "down")
    }


@pytest.mark.parametrize("tied", [True, False])
def test_a_module_trained_as_a_whole_is_its_own(tied: bool) -> None:
    model = build("qwen2", tie_word_embeddings=tied)
    adapted = attach(model, find_targets(model, RecipeHyperparameters(modules_to_save=("lm_head",))), make_plan())
    assert is_unchanged(adapted)
    whole = [name for name, tensor in adapted.named_parameters() if tensor.requires_grad and "lora_" not in name]
    assert whole == ["base_model.model.lm_head.modules_to_save.default.weight"]
    with torch.no_grad():
        adapted.get_parameter(whole[0])[0, 0] += 1
    assert not is_unchanged(adapted)
    assert torch.equal(
        build("qwen2", tie_word_embeddings=tied).get_input_embeddings().weight, model.get_input_embeddings().weight
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"modules_to_save": ("norm",)}, "no linear or embedding module named norm. It has: down_proj, embed_tokens"),
        ({"rank_pattern": {"lm_head": 4}}, "no adapted layer named lm_head"),
        (
            {"target_modules": ("q_proj",), "rank_pattern": {"k_proj": 4}},
            "no adapted layer named k_proj. It has: q_proj",
        ),
        ({"target_modules": ("q_proj",), "modules_to_save": ("q_proj",)}, "none is left for LoRA"),
    ],
)
def test_patterns_that_name_nothing_are_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(DomainError, match=words) as caught:
        find_targets(build("qwen2"), RecipeHyperparameters(**asked))
    assert caught.value.reason is Reason.TARGET_MODULES_NOT_FOUND


def test_a_head_that_is_named_like_a_layer_gets_no_adapter() -> None:
    model = build("gpt_neox")
    model.dense = model.embed_out if hasattr(model, "embed_out") else model.lm_head
    model.get_output_embeddings = lambda: model.dense
    for old in ("embed_out", "lm_head"):
        if hasattr(model, old):
            delattr(model, old)
    targets = find_targets(model, RecipeHyperparameters())
    assert targets.excluded == ("dense",)
    adapted = attach(model, targets, make_plan()).get_base_model()
    with_lora = {name for name, layer in adapted.named_modules() if hasattr(layer, "lora_A")}
    assert "dense" not in with_lora
    assert "gpt_neox.layers.0.attention.dense" in with_lora
