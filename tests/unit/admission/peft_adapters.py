"""Adapters that PEFT itself writes on tiny bases, in every variant."""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
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


@dataclass(frozen=True)
class Variant:
    """Settings of LoraConfig for one architecture."""

    name: str

    def settings(self, architecture: str) -> dict[str, Any]:
        targets, embedding = ATTENTION[architecture], EMBEDDING[architecture]
        layers = LAYERS.get(architecture, "layers")
        return {
            "plain": {},
            "ranks": {
                "rank_pattern": {f"{layers}.0.*{targets[0]}": 2},
                "alpha_pattern": {rf".*\.1\..*{targets[0]}": 3},
            },
            "rslora": {"use_rslora": True},
            "dora": {"use_dora": True},
            "bias": {"lora_bias": True},
            "expression": {"target_modules": rf".*\.{layers}\.\d+\..*(?:{'|'.join(targets)})"},
            "all-linear": {"target_modules": "all-linear"},
            "layers": {"layers_to_transform": [1], "layers_pattern": layers},
            "one-layer": {"layers_to_transform": 0},
            "exclude": {"exclude_modules": rf".*\.{layers}\.0\..*"},
            "embedding": {"target_modules": [*targets, embedding]},
            "output": {"target_modules": [*targets, "lm_head" if architecture != "gpt_neox" else "embed_out"]},
            "saved-embedding": {"modules_to_save": [embedding]},
            "saved-output": {"modules_to_save": ["lm_head"]},
            "saved-linear": {"modules_to_save": ["mlp.dense_h_to_4h" if architecture == "gpt_neox" else "mlp.c_fc"]},
        }[self.name]


VARIANTS: Final = (
    "plain", "ranks", "rslora", "dora", "bias", "expression", "all-linear", "layers", "one-layer", "exclude",
    "embedding", "output", "saved-embedding", "saved-output",
)  # fmt: skip


def save_adapter(base: Path, directory: Path, *, seed: int = 0, **settings: Any) -> Path:
    """Train nothing, but give every tensor values as training would, and save with PEFT's own defaults."""
    shutil.rmtree(directory, ignore_errors=True)
    save = settings.pop("save", {})
    model = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | settings))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for name, parameter in peft_model.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        peft_model.save_pretrained(directory, **save)
    return directory
