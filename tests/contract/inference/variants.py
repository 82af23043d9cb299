"""The variants of LoRA that are served, as settings of PEFT's LoraConfig for each architecture."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

EMBEDDING: Final = MappingProxyType({"gpt2": "wte", "gpt_neox": "embed_in"})
"""Where it is not ``embed_tokens``."""

ATTENTION: Final = MappingProxyType({"gpt2": "c_attn", "gpt_neox": "query_key_value", "phi3": "qkv_proj"})
"""Where it is not ``q_proj``."""

OTHER: Final = MappingProxyType(
    {"gpt2": "0.mlp.c_fc", "gpt_neox": "0.mlp.dense_h_to_4h", "phi3": "0.mlp.gate_up_proj", "opt": "0.fc1"}
)
"""Another matrix, of one layer; where it is not ``0.mlp.up_proj``."""

Options = Callable[[str, str, str], Mapping[str, Any]]

VARIANTS: Final[Mapping[str, Options]] = MappingProxyType(
    {
        "plain": lambda *_: {},
        "rank and alpha patterns": lambda attention, *_: {
            "rank_pattern": {attention: 2},
            "alpha_pattern": {f"1.*{attention}": 3},
        },
        "rslora": lambda *_: {"use_rslora": True},
        "dora": lambda *_: {"use_dora": True},
        "dora with rslora and ranks": lambda attention, *_: {
            "use_dora": True,
            "use_rslora": True,
            "rank_pattern": {attention: 7},
        },
        "lora_bias": lambda *_: {"lora_bias": True},
        "layers_to_transform": lambda *_: {"layers_to_transform": [1]},
        "exclude_modules": lambda attention, *_: {"exclude_modules": f".*0.*{attention}"},
        "embedding": lambda attention, embedding, _: {"target_modules": [attention, embedding]},
        "output": lambda attention, *_: {"target_modules": [attention, "lm_head"]},
        "dora on the output": lambda attention, *_: {"target_modules": [attention, "lm_head"], "use_dora": True},
        "all linear": lambda *_: {"target_modules": "all-linear"},
        "replaced embedding": lambda _, embedding, __: {"modules_to_save": [embedding]},
        "replaced output": lambda *_: {"modules_to_save": ["lm_head"]},
        "replaced both": lambda _, embedding, __: {"modules_to_save": ["lm_head", embedding]},
        "replaced linear": lambda attention, _, other: {"target_modules": [attention], "modules_to_save": [other]},
    }
)


def options(variant: str, architecture: str) -> Mapping[str, Any]:
    """Settings of LoraConfig for a variant on an architecture."""
    return VARIANTS[variant](
        ATTENTION.get(architecture, "q_proj"),
        EMBEDDING.get(architecture, "embed_tokens"),
        OTHER.get(architecture, "0.mlp.up_proj"),
    )
