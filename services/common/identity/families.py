"""What is known of the well-known model families without loading them: prefixes, layer stacks, required tensors.

Used to refuse a base that lacks tensors (transformers would fill them with random numbers) and to name modules as the
loaded model names them. A family that is not here is left to the loader, which counts missing keys by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CONV1D_MODEL_TYPES", "FUSED_EXPERT_MODEL_TYPES", "Family", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """Names of one family's tensors, without the prefix of the base model.

    Attributes:
        prefix: what the language-model class puts before the base model's names; checkpoints of the bare base model
            lack it.
        stack: the name of the layer list.
        every_layer: tensors that every layer must have.
        beside: tensors that must be there once.
        output: the output matrix's tensor, needed unless it is tied.
        uniform: whether every layer has the same tensors.
        biased: config key → tensors that every layer must have where that key is true.
    """

    prefix: str
    stack: str
    every_layer: tuple[str, ...]
    beside: tuple[str, ...]
    output: str = "lm_head.weight"
    uniform: bool = True
    biased: Mapping[str, tuple[str, ...]] | None = None


def _each(stems: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{part}" for stem in stems.split() for part in (parts or ("weight",)))


_BOTH: Final = ("weight", "bias")
_ATTENTION: Final = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
_GATED: Final = "mlp.gate_proj mlp.up_proj mlp.down_proj"
_NORMS: Final = "input_layernorm post_attention_layernorm"
_MORE_NORMS: Final = "pre_feedforward_layernorm post_feedforward_layernorm"
_BESIDE: Final = _each("embed_tokens norm")
_LLAMA_BIAS: Final = {
    "attention_bias": _each(_ATTENTION, "bias"),
    "mlp_bias": _each(_GATED, "bias"),
}
_QWEN2_BIAS: Final = _each("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "bias")

_LLAMA: Final = Family("model", "layers", _each(f"{_ATTENTION} {_GATED} {_NORMS}"), _BESIDE, biased=_LLAMA_BIAS)
_QWEN2: Final = Family("model", "layers", _LLAMA.every_layer + _QWEN2_BIAS, _BESIDE)
_QWEN3: Final = Family("model", "layers", _LLAMA.every_layer + _each("self_attn.q_norm self_attn.k_norm"), _BESIDE)
_GEMMA2: Final = Family("model", "layers", _LLAMA.every_layer + _each(_MORE_NORMS), _BESIDE)
_GEMMA3: Final = Family("model", "layers", _GEMMA2.every_layer + _each("self_attn.q_norm self_attn.k_norm"), _BESIDE)
_PHI3: Final = Family(
    "model",
    "layers",
    _each(f"self_attn.qkv_proj self_attn.o_proj mlp.gate_up_proj mlp.down_proj {_NORMS}"),
    _BESIDE,
)
_MOE: Final = Family("model", "layers", _each(f"{_ATTENTION} {_NORMS}"), _BESIDE, uniform=False)
_QWEN2_MOE: Final = Family("model", "layers", _MOE.every_layer + _QWEN2_BIAS, _BESIDE, uniform=False)
_GPT2: Final = Family(
    "transformer",
    "h",
    _each("attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj ln_1 ln_2", *_BOTH),
    (*_each("wte wpe"), *_each("ln_f", *_BOTH)),
)
_GPT_NEOX: Final = Family(
    "gpt_neox",
    "layers",
    _each(
        "attention.query_key_value attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h "
        "input_layernorm post_attention_layernorm",
        *_BOTH,
    ),
    (*_each("embed_in"), *_each("final_layer_norm", *_BOTH)),
    output="embed_out.weight",
)
_OPT: Final = Family(
    "model",
    "decoder.layers",
    _each("self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2"),
    _each("decoder.embed_tokens decoder.embed_positions"),
)
_BLOOM: Final = Family(
    "transformer",
    "h",
    _each(
        "self_attention.query_key_value self_attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h "
        "input_layernorm post_attention_layernorm",
        *_BOTH,
    ),
    (*_each("word_embeddings"), *_each("word_embeddings_layernorm ln_f", *_BOTH)),
)

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gemma": _LLAMA,
    "qwen2": _QWEN2,
    "qwen3": _QWEN3,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3,
    "phi3": _PHI3,
    "mixtral": _MOE,
    "qwen3_moe": _MOE,
    "qwen2_moe": _QWEN2_MOE,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "opt": _OPT,
    "bloom": _BLOOM,
}
"""By ``model_type``."""

CONV1D_MODEL_TYPES: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""Whose ``Conv1D`` keeps its weight as [in, out], transposed against ``Linear``."""

FUSED_EXPERT_MODEL_TYPES: Final = frozenset({
    "mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe",
    "glm4_moe", "glm4_moe_lite", "olmoe", "flex_olmo", "hunyuan_v1_moe", "minimax", "minimax_m2", "exaone_moe",
})  # fmt: skip
"""Whose checkpoints hold one tensor an expert, and whose modules (transformers 5) hold all experts in one parameter."""


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The family of a configuration, by its ``model_type``; None where it is not a known one."""
    return FAMILIES.get(str(config.get("model_type")))
