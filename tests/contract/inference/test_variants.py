"""Every variant of LoRA that is served computes what PEFT itself computes from the same files; the others are refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
import torch

from services.inference.engine.protocol import AdapterWeights
from tests.contract.inference.engines import LoadEngine
from tests.contract.inference.samples import expected_logits, make_adapter, read_adapter
from tests.support.tiny_bases import ARCHITECTURES

PROMPT: Final = [40, 50, 60, 70, 80, 90]
DIGEST: Final = "a" * 64
EMBEDDING: Final = MappingProxyType(
    {"qwen2": "embed_tokens", "llama": "embed_tokens", "gpt2": "wte", "gpt_neox": "embed_in", "phi3": "embed_tokens"}
)
ATTENTION: Final = MappingProxyType(
    {"qwen2": "q_proj", "llama": "q_proj", "gpt2": "c_attn", "gpt_neox": "query_key_value", "phi3": "qkv_proj"}
)

OTHER: Final = MappingProxyType(
    {
        "qwen2": "0.mlp.up_proj",
        "llama": "0.mlp.up_proj",
        "gpt2": "0.mlp.c_fc",
        "gpt_neox": "0.mlp.dense_h_to_4h",
        "phi3": "0.mlp.gate_up_proj",
    }
)

Options = Callable[[str], Mapping[str, Any]]

VARIANTS: Final[Mapping[str, Options]] = MappingProxyType(
    {
        "plain": lambda _: {},
        "rank and alpha patterns": lambda a: {
            "rank_pattern": {ATTENTION[a]: 2},
            "alpha_pattern": {f"1.*{ATTENTION[a]}": 3},
        },
        "rslora": lambda _: {"use_rslora": True},
        "dora": lambda _: {"use_dora": True},
        "dora with rslora and ranks": lambda a: {
            "use_dora": True,
            "use_rslora": True,
            "rank_pattern": {ATTENTION[a]: 7},
        },
        "lora_bias": lambda _: {"lora_bias": True},
        "layers_to_transform": lambda _: {"layers_to_transform": [1]},
        "exclude_modules": lambda a: {"exclude_modules": f".*0.*{ATTENTION[a]}"},
        "embedding": lambda a: {"target_modules": [ATTENTION[a], EMBEDDING[a]]},
        "output": lambda a: {"target_modules": [ATTENTION[a], "lm_head"]},
        "dora on the output": lambda a: {"target_modules": [ATTENTION[a], "lm_head"], "use_dora": True},
        "all linear": lambda _: {"target_modules": "all-linear"},
        "replaced embedding": lambda a: {"modules_to_save": [EMBEDDING[a]]},
        "replaced output": lambda _: {"modules_to_save": ["lm_head"]},
        "replaced both": lambda a: {"modules_to_save": ["lm_head", EMBEDDING[a]]},
        "replaced linear": lambda a: {"target_modules": [ATTENTION[a]], "modules_to_save": [OTHER[a]]},
    }
)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
async def test_logits_are_those_of_peft(
    architecture: str, variant: str, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny(architecture)
    adapter = make_adapter(base, tmp_path, architecture, **VARIANTS[variant](architecture))
    engine, fingerprint = await load_engine(base)
    weights = read_adapter(adapter, fingerprint, DIGEST)
    attached = await engine.attach(weights)
    assert attached.applied_tensors == count(weights)
    alone, adapted = expected_logits(base, None, PROMPT), expected_logits(base, adapter, PROMPT)
    assert (alone - adapted).abs().max() > 0.1
    for name, want in ((None, alone), (DIGEST, adapted), (None, alone)):
        torch.testing.assert_close(await engine.next_token_logits(PROMPT, name), want, rtol=0, atol=2e-5)


def count(weights: AdapterWeights) -> int:
    parts = [
        *(part for layer in weights.layers for part in (layer.a, layer.b, layer.magnitude, layer.bias)),
        *(part for replaced in weights.replacements for part in (replaced.weight, replaced.bias)),
    ]
    return sum(part is not None for part in parts)
