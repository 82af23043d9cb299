"""Adapters that PEFT itself writes on tiny bases, in every variant."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from transformers import AutoModelForCausalLM

ATTENTION: Final[Mapping[str, list[str]]] = {
    "llama": ["q_proj", "v_proj"],
    "qwen2": ["q_proj", "v_proj"],
    "gpt2": ["c_attn"],
    "gpt_neox": ["query_key_value"],
    "phi3": ["qkv_proj"],
}
EMBEDDING: Final[Mapping[str, str]] = {
    "llama": "embed_tokens",
    "qwen2": "embed_tokens",
    "gpt2": "wte",
    "gpt_neox": "embed_in",
    "phi3": "embed_tokens",
}
LAYERS: Final[Mapping[str, str]] = {"gpt2": "h"}
SAVED: Final[Mapping[str, str]] = {
    "llama": "up_proj",
    "qwen2": "k_proj",
    "gpt2": "c_fc",
    "gpt_neox": "dense",
    "phi3": "down_proj",
}
"""A linear module of each layer; some have a bias."""
VARIANTS: Final = (
    "plain", "ranks", "rslora", "dora", "bias", "mica", "expression", "all-linear", "layers", "one-layer", "exclude",
    "embedding", "output", "both-ends", "saved-embedding", "saved-output", "saved-linear",
)  # fmt: skip


def variant(name: str, architecture: str) -> dict[str, Any]:
    """Settings of LoraConfig for a variant on an architecture."""
    targets, embedding = ATTENTION[architecture], EMBEDDING[architecture]
    layers = LAYERS.get(architecture, "layers")
    changes: dict[str, dict[str, Any]] = {
        "plain": {},
        "ranks": {"rank_pattern": {f"{layers}.0.*{targets[0]}": 2}, "alpha_pattern": {rf".*\.1\..*{targets[0]}": 3}},
        "rslora": {"use_rslora": True},
        "dora": {"use_dora": True},
        "bias": {"lora_bias": True},
        "mica": {"init_lora_weights": "mica"},
        "expression": {"target_modules": rf".*\.{layers}\.\d+\..*(?:{'|'.join(targets)})"},
        "all-linear": {"target_modules": "all-linear"},
        "layers": {"layers_to_transform": [1], "layers_pattern": layers},
        "one-layer": {"layers_to_transform": 0},
        "exclude": {"exclude_modules": rf".*\.{layers}\.0\..*"},
        "embedding": {"target_modules": [*targets, embedding]},
        "output": {"target_modules": [*targets, "lm_head"]},
        "both-ends": {"target_modules": [*targets, embedding, "lm_head"]},
        "saved-embedding": {"modules_to_save": [embedding]},
        "saved-output": {"modules_to_save": ["lm_head"]},
        "saved-linear": {"target_modules": [*targets, SAVED[architecture]], "modules_to_save": [SAVED[architecture]]},
    }
    return {"target_modules": targets, **changes[name]}


def save_adapter(
    base: Path, directory: Path, settings: Mapping[str, Any], *, tokens: int | None = None, **save: Any
) -> dict[str, float]:
    """Train nothing, but give every tensor values as training would, and save it as PEFT does by default.

    Returns:
        Module with LoRA → PEFT's scale for it.
    """
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens is not None:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    options: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(model, LoraConfig(**options))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            for name, parameter in peft_model.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        peft_model.save_pretrained(str(directory), **save)
    layers = peft_model.get_base_model().named_modules()
    return {name: layer.scaling["default"] for name, layer in layers if isinstance(layer, LoraLayer)}
