"""The modules an adapter can name, told from headers.

Adapters name modules of the loaded model, checkpoints name tensors, and the two differ: GPT-2 without
``transformer.``, vision-language models of transformers 4, experts stored one by one and loaded as one parameter.
Names follow transformers 5.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.common.identity.config import ties_output
from services.common.identity.families import CONV1D_MODEL_TYPES, FUSED_EXPERT_MODEL_TYPES, family_of
from services.common.identity.trees import TensorLeaf

__all__ = ["KINDS", "LinearModule", "list_modules"]

KINDS: Final = ("Linear", "Conv1D", "Embedding", "Experts", "Router", "Packed")

EMBEDDINGS: Final = frozenset({
    "embed_tokens", "wte", "wpe", "embed_in", "word_embeddings", "embed_positions", "position_embedding",
    "position_embeddings", "tok_embeddings", "token_type_embeddings", "shared",
})  # fmt: skip
CONV1D_NAMES: Final = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})
ROUTERS: Final = (".mlp.gate", ".mlp.router")
ROUTED_MODEL_TYPES: Final = FUSED_EXPERT_MODEL_TYPES | {"gpt_oss"}
LLAVA_LIKE: Final = (
    (r"^language_model\.lm_head", "lm_head"),
    (r"^language_model\.model", "model.language_model"),
    (r"^(vision_tower|multi_modal_projector)", r"model.\1"),
    (r"^model\.vision_tower\.vision_model\.", "model.vision_tower."),
)
QWEN2_VL_LIKE: Final = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(layers|embed_tokens|norm)\b", r"model.language_model.\1"),
)
RENAMES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    **dict.fromkeys(
        ("llava", "llava_next", "vipllava", "paligemma", "gemma3", "mistral3", "internvl", "aya_vision"), LLAVA_LIKE
    ),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), QWEN2_VL_LIKE),
    "mixtral": ((r"\.block_sparse_moe\.", ".mlp."),),
    "gpt_neox": ((r"^embed_out$", "lm_head"),),
}
"""By model type: how transformers 5 renames a checkpoint's modules when it loads them."""

_EXPERT: Final = re.compile(r"(?P<experts>.+\.experts)\.\d+\.(?P<part>w1|w2|w3|gate_proj|up_proj|down_proj)$")
_FUSED: Final = re.compile(r".+\.experts\.(gate_up_proj|down_proj)$")


@dataclass(frozen=True, slots=True)
class LinearModule:
    """A module that multiplies by a matrix.

    Attributes:
        name: dotted, as ``named_modules`` of the loaded model has it; of fused experts, the parameter's name.
        kind: ``Linear`` (weight [out, in]), ``Conv1D`` (weight [in, out]), ``Embedding`` (in: rows, out: width),
            ``Experts`` (one parameter for all experts of a layer; sizes are one expert's), ``Router``, ``Packed`` (a
            matrix whose sizes its header does not tell, as bitsandbytes stores 4 bits; they are given as 0).
    """

    name: str
    kind: str
    in_features: int
    out_features: int


def list_modules(
    config: Mapping[str, Any], leaves: Iterable[TensorLeaf], bits: int | None = None
) -> tuple[LinearModule, ...]:
    """All modules with a matrix, by name.

    Args:
        config: the canonical configuration.
        leaves: the base's tensors.
        bits: of the quantization, where weights are packed into 32-bit words.
    """
    beside = {leaf.name: leaf for leaf in leaves}
    found = {module.name: module for leaf in beside.values() for module in _modules_of(config, leaf, bits, beside)}
    found = _prefixed(config, found)
    if "lm_head" not in found and ties_output(config) and (tied := _tied_head(found.values())):
        found["lm_head"] = tied
    return tuple(module for _, module in sorted(found.items()))


def _modules_of(
    config: Mapping[str, Any], leaf: TensorLeaf, bits: int | None, beside: Mapping[str, TensorLeaf]
) -> Iterator[LinearModule]:
    model_type = str(config.get("model_type"))
    if len(leaf.shape) == 3 and _FUSED.match(leaf.name):
        yield _fused_experts(config, leaf)
        return
    stem, _, form = leaf.name.rpartition(".")
    sizes = _sizes(form, leaf.shape, bits, beside.get(f"{stem}.scales"))
    if sizes is None or not stem:
        return
    name = _renamed(model_type, stem)
    if f"{leaf.name}.absmax" in beside:
        yield LinearModule(name, "Packed", 0, 0)
        return
    out_features, in_features = sizes
    if model_type in FUSED_EXPERT_MODEL_TYPES and (match := _EXPERT.match(name)):
        yield _expert(match, in_features, out_features)
        return
    kind = _kind(model_type, name)
    if kind in {"Conv1D", "Embedding"}:
        in_features, out_features = out_features, in_features
    yield LinearModule(name, kind, in_features, out_features)


def _sizes(form: str, shape: tuple[int, ...], bits: int | None, scales: TensorLeaf | None) -> tuple[int, int] | None:
    """(out, in) of a matrix by the form it is stored in; None where it is none."""
    if len(shape) != 2:
        return None
    if form == "weight":
        return shape[0], shape[1]
    if form == "qweight" and bits:
        packed_out = shape[1] * 32 // bits
        if scales is not None and scales.shape[-1:] == (
            packed_out,
        ):  # AWQ packs the output side: [in, out · bits / 32]
            return packed_out, shape[0]
        return shape[1], shape[0] * 32 // bits  # GPTQ the input side: [in · bits / 32, out]
    if form == "weight_packed" and bits:  # compressed-tensors packs the input side: [out, in · bits / 32]
        return shape[0], shape[1] * 32 // bits
    return None


def _kind(model_type: str, name: str) -> str:
    last = name.rpartition(".")[2]
    if last in EMBEDDINGS:
        return "Embedding"
    if model_type in CONV1D_MODEL_TYPES and last in CONV1D_NAMES:
        return "Conv1D"
    if name.endswith(ROUTERS) and model_type in ROUTED_MODEL_TYPES:
        return "Router"
    return "Linear"


def _expert(match: re.Match[str], in_features: int, out_features: int) -> LinearModule:
    if match["part"] in {"w2", "down_proj"}:
        return LinearModule(f"{match['experts']}.down_proj", "Experts", in_features, out_features)
    return LinearModule(f"{match['experts']}.gate_up_proj", "Experts", in_features, 2 * out_features)


def _fused_experts(config: Mapping[str, Any], leaf: TensorLeaf) -> LinearModule:
    """[experts, out, in], or [experts, in, out] as gpt-oss has it: the hidden size tells which side is which."""
    _, first, second = leaf.shape
    gate = leaf.name.endswith("gate_up_proj")
    transposed = config.get("model_type") == "gpt_oss"
    hidden = config.get("hidden_size")
    if first != second and hidden in {first, second}:
        transposed = (hidden == first) is gate
    out_features, in_features = (second, first) if transposed else (first, second)
    return LinearModule(leaf.name, "Experts", in_features, out_features)


def _renamed(model_type: str, name: str) -> str:
    for pattern, replacement in RENAMES.get(model_type, ()):
        name = re.sub(pattern, replacement, name)
    return name


def _prefixed(config: Mapping[str, Any], modules: Mapping[str, LinearModule]) -> dict[str, LinearModule]:
    """With the prefix that the language-model class adds to a checkpoint of the bare base model."""
    family = family_of(config)
    if family is None or any(name.startswith(f"{family.prefix}.") for name in modules):
        return dict(modules)
    renamed = [
        module
        if name == "lm_head"
        else LinearModule(f"{family.prefix}.{name}", module.kind, module.in_features, module.out_features)
        for name, module in modules.items()
    ]
    return {module.name: module for module in renamed}


def _tied_head(modules: Iterable[LinearModule]) -> LinearModule | None:
    names = ("embed_tokens", "wte", "embed_in", "word_embeddings")
    inputs = [module for module in modules if module.kind == "Embedding" and module.name.endswith(names)]
    if len(inputs) != 1:
        return None
    return LinearModule("lm_head", "Linear", inputs[0].out_features, inputs[0].in_features)
