"""Whether an adapter fits: its configuration, its header, its values."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import save

from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule, TensorEntry, parse_header
from services.common.manifest import ManifestFile
from services.inference.adapter_config import parse_config
from services.inference.verify import check_digest, plan_layers, read_layers

MODULES = (
    LinearModule("lm_head", "Linear", 8, 100),
    LinearModule("model.embed_tokens", "Embedding", 100, 8),
    LinearModule("model.layers.0.self_attn.q_proj", "Linear", 8, 6),
    LinearModule("model.layers.1.self_attn.q_proj", "Linear", 8, 6),
    LinearModule("model.layers.1.mlp.experts.down_proj", "Experts", 8, 6),
)
BASIC: Mapping[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")


def tensors(*modules: str, rank: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    found = {}
    for module in modules:
        found[f"base_model.model.{module}.lora_A.weight"] = torch.ones(rank, 8, dtype=dtype)
        found[f"base_model.model.{module}.lora_B.weight"] = torch.ones(6, rank, dtype=dtype)
    return found


def admit(content: Mapping[str, torch.Tensor], **config: Any) -> Any:
    data = save(dict(content))
    planned = plan_layers(parse_config(json.dumps({**BASIC, **config}).encode()), entries(data), MODULES)
    return read_layers(data, planned)


def entries(data: bytes) -> tuple[TensorEntry, ...]:
    length = int.from_bytes(data[:8], "little")
    return parse_header(data[8 : 8 + length], file_size=len(data), what="test")


def refusal(content: Mapping[str, torch.Tensor], **config: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        admit(content, **config)
    return caught.value


def test_adapter_that_fits_is_read_as_it_is() -> None:
    layers = admit(tensors(*LAYERS))
    assert [layer.module for layer in layers] == list(LAYERS)
    assert {layer.scaling for layer in layers} == {2.0}
    assert torch.equal(layers[0].a, torch.ones(2, 8))
    assert torch.equal(layers[1].b, torch.ones(6, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_usual_dtype_is_read(dtype: torch.dtype) -> None:
    assert {layer.a.dtype for layer in admit(tensors(*LAYERS, dtype=dtype))} == {dtype}


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        ({"target_modules": [LAYERS[0]]}, LAYERS[:1]),
        ({"target_modules": r".*\.(q_proj|v_proj)"}, LAYERS),
        ({"target_modules": ["q_proj"], "exclude_modules": ["layers.1.self_attn.q_proj"]}, LAYERS[:1]),
        ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, LAYERS[1:]),
        ({"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"}, LAYERS[1:]),
    ],
)
def test_targets_are_those_that_peft_would_find(config: Mapping[str, Any], modules: tuple[str, ...]) -> None:
    assert [layer.module for layer in admit(tensors(*modules), **config)] == list(modules)


def test_ranks_and_scales_by_pattern() -> None:
    content = tensors(LAYERS[0]) | tensors(LAYERS[1], rank=4)
    layers = admit(content, rank_pattern={"layers.1.self_attn.q_proj": 4}, alpha_pattern={"q_proj": 8}, use_rslora=True)
    assert [layer.scaling for layer in layers] == [pytest.approx(8 / 2**0.5), 4.0]


A, B = (f"base_model.model.{LAYERS[0]}.lora_{side}.weight" for side in "AB")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no LoRA tensor"),
        (tensors(LAYERS[0]), f"targets {LAYERS[1]}"),
        (tensors(*LAYERS, "lm_head"), "tensors for lm_head, which its configuration does not target"),
        (tensors(*LAYERS, "model.layers.2.self_attn.q_proj"), "no linear modules model.layers.2"),
        (tensors(*LAYERS, "model.embed_tokens"), "no linear modules model.embed_tokens"),
        (tensors(*LAYERS, "model.layers.1.mlp.experts.down_proj"), "no linear modules"),
        (tensors(*LAYERS) | {"base_model.model.lm_head.weight": torch.ones(1)}, "no LoRA tensor of a linear module"),
        ({name.removeprefix("base_model."): data for name, data in tensors(*LAYERS).items()}, "no LoRA tensor"),
        ({name: data for name, data in tensors(*LAYERS).items() if name != A}, "lacks its lora_A"),
        (tensors(*LAYERS, rank=3), "shape"),
        (tensors(*LAYERS) | {A: torch.ones(8, 2)}, "shape"),
        (tensors(*LAYERS) | {A: torch.ones(2, 8, dtype=torch.float64)}, "F64"),
        (tensors(*LAYERS) | {A: torch.ones(2, 8, dtype=torch.int8)}, "I8"),
        (tensors(*LAYERS) | {A: torch.full((2, 8), torch.inf)}, "not finite"),
        (tensors(*LAYERS) | {B: torch.full((6, 2), torch.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_exactly_is_refused(content: Mapping[str, torch.Tensor], words: str) -> None:
    error = refusal(content)
    assert error.reason is Reason.ADAPTER_INVALID
    assert words in error.message


def test_every_b_zero_has_no_effect_but_some_may_be() -> None:
    zero = {name: data if "lora_A" in name else data * 0 for name, data in tensors(*LAYERS).items()}
    assert refusal(zero).reason is Reason.ADAPTER_NO_EFFECT
    assert admit(tensors(*LAYERS) | {B: torch.zeros(6, 2)})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"peft_type": None}, "None"),
        ({"r": 0}, "r in"),
        ({"r": "2"}, "r in"),
        ({"r": True}, "r in"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"target_modules": None}, "target_modules"),
        ({"use_dora": True}, "use_dora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"option_of_tomorrow": 1}, "option_of_tomorrow"),
        ({"target_modules": "(.*)*x"}, "too involved"),
        ({"target_modules": "(a|a)*x"}, "too involved"),
        ({"target_modules": ".*.*.*.*x"}, "too involved"),
        ({"target_modules": "(("}, "too involved"),
        ({"rank_pattern": {".*": 4}}, "plain name"),
        ({"layers_to_transform": [1], "layers_pattern": "(.*)*"}, "plain name"),
    ],
)
def test_configurations_that_would_compute_something_else_are_refused(config: dict[str, Any], words: str) -> None:
    error = refusal(tensors(*LAYERS), **config)
    assert error.reason is Reason.ADAPTER_INVALID
    assert words in error.message


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_configuration_is_refused(data: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        parse_config(data)
    assert caught.value.reason is Reason.ADAPTER_INVALID


def test_other_bytes_than_the_manifests_are_corrupt() -> None:
    file = ManifestFile("x", 1, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")
    assert check_digest(b"a", file) == b"a"
    for data in (b"b", b"", b"aa"):
        with pytest.raises(DomainError) as caught:
            check_digest(data, file)
        assert caught.value.reason is Reason.ARTIFACT_CORRUPT
