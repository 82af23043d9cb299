"""Which layers get an adapter, in the shapes of five architectures."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.common.errors import DomainError, Reason
from services.trainer.recipe.model.adapter import attach, is_unchanged, trained_parameters
from services.trainer.recipe.model.targets import find_targets, linear_layers, output_layer
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


def build(architecture: str) -> Any:
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture](32, 2, 64))
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped


@pytest.mark.parametrize(("architecture", "names"), EXPECTED.items())
def test_every_linear_layer_but_the_head_is_found(architecture: str, names: tuple[str, ...]) -> None:
    model = build(architecture)
    targets = find_targets(model, ())
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
    adapted = attach(model, find_targets(model, ()), make_plan(lora_rank=4))
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
        return trained_parameters(attach(model, find_targets(model, ()), make_plan(seed=seed)))[0].detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_only_what_is_asked_for_is_adapted() -> None:
    model = build("qwen2")
    targets = find_targets(model, ("v_proj", "q_proj", "v_proj"))
    assert targets.names == ("q_proj", "v_proj")
    adapted = attach(model, targets, make_plan())
    assert len(trained_parameters(adapted)) == 2 * 2 * 2


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "c_attn", "proj", ""])
def test_a_name_that_is_no_target_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(DomainError, match="It has: down_proj, gate_proj, k_proj") as caught:
        find_targets(build("qwen2"), ("q_proj", name))
    assert caught.value.reason is Reason.TARGET_MODULES_NOT_FOUND
    assert caught.value.metadata["missing"] == name


def test_a_head_that_is_named_like_a_layer_gets_no_adapter() -> None:
    model = build("gpt_neox")
    model.dense = model.embed_out if hasattr(model, "embed_out") else model.lm_head
    model.get_output_embeddings = lambda: model.dense
    for old in ("embed_out", "lm_head"):
        if hasattr(model, old):
            delattr(model, old)
    targets = find_targets(model, ())
    assert targets.excluded == ("dense",)
    adapted = attach(model, targets, make_plan()).get_base_model()
    with_lora = {name for name, layer in adapted.named_modules() if hasattr(layer, "lora_A")}
    assert "dense" not in with_lora
    assert "gpt_neox.layers.0.attention.dense" in with_lora
