"""Rotary position parameters: the transformers-4 keys moved to where transformers 5 keeps them.

========================= =====================================================================
transformers 4            transformers 5
========================= =====================================================================
``rope_theta``            ``rope_parameters.rope_theta``
``rope_scaling``          ``rope_parameters`` (merged)
``type``                  ``rope_type``, ``"default"`` where neither is given; ``mrope`` is ``default``
``partial_rotary_factor`` ``rope_parameters.partial_rotary_factor``
``rotary_emb_base``       ``rope_parameters.rope_theta`` (GPT-NeoX)
``rotary_pct``            ``rope_parameters.partial_rotary_factor`` (GPT-NeoX)
``rope_local_base_freq``  ``rope_parameters.sliding_attention.rope_theta`` (Gemma 3)
========================= =====================================================================

A key is moved only where transformers reads it so for that model type. Otherwise two configurations that compute something
else would be spelled the same: what is given twice, or in a way that belongs to another family, counts as it stands.

Source: ``RotaryEmbeddingConfigMixin`` of transformers 5 and the model classes that override it.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["normalize_rope"]

PLAIN_KEYS: Final = {"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor"}
GPT_NEOX_KEYS: Final = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
GPT_NEOX_TYPES: Final = frozenset({"gpt_neox", "gpt_neox_japanese"})
TWO_BASES_TYPES: Final = frozenset({"gemma3_text", "gemma3n_text", "t5gemma2_text", "t5gemma2_decoder"})
"""One base frequency for layers that see all, another for layers that see a window."""
OWN_RULES: Final = frozenset({
    "bailing_hybrid", "beam", "codegen", "cohere2_moe", "cohere_compass_text", "deepseek_v4", "diffusion_gemma_text",
    "dots3_note_text", "embedding_gemma2_text", "gemma4_text", "gemma4_unified_text", "gptj", "kimi_linear", "laguna",
    "lfm3", "mellum", "mimo_v2_flash", "modernbert", "modernbert-decoder", "neomme", "olmo3", "roformer", "zaya",
})  # fmt: skip
"""Model types whose classes read these keys each in a way of its own: nothing is moved for them."""
SCALED_BY_DEFAULT: Final = frozenset({"apertus", "cwm", "gpt_oss", "ministral3"})
"""Model types that scale where config.json gives no rotary parameters."""
LONG_TYPES: Final = frozenset({"phi3", "phi4_multimodal"})
"""Model types whose own ``original_max_position_embeddings`` is the one of their rotary parameters."""
SCALED_TYPES: Final = ("llama3", "yarn", "longrope")
"""Types for which transformers 5 writes the pretraining length into the parameters."""


def normalize_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Move the rotary keys of one configuration; other keys stay as they are."""
    kind = config.get("model_type")
    # Without a name: a part whose class follows from the whole. Nobody knows here how it reads them.
    if not isinstance(kind, str) or kind in OWN_RULES:
        return config
    if kind in TWO_BASES_TYPES:
        return _with_two_bases(config)
    if _holds_objects(config.get("rope_scaling") or config.get("rope_parameters")):
        return _nested(config)
    return _with_one_base(config, GPT_NEOX_KEYS if kind in GPT_NEOX_TYPES else PLAIN_KEYS)


def _with_one_base(config: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    given = config.get("rope_scaling") or config.get("rope_parameters")
    moved = {new: config[old] for old, new in keys.items() if old in config}
    if not isinstance(given, dict) and ("rope_theta" not in moved or config.get("model_type") in SCALED_BY_DEFAULT):
        return dict(config)
    rest = {key: value for key, value in config.items() if key not in keys and key != "rope_scaling"}
    return rest | {"rope_parameters": _flat({**moved, **(given if isinstance(given, dict) else {})}, config)}


def _with_two_bases(config: Mapping[str, Any]) -> dict[str, Any]:
    """One object and two bases beside it in transformers 4, an object for each in transformers 5."""
    if "rope_parameters" in config:
        return _nested(config)
    if "rope_local_base_freq" not in config and "rope_scaling" not in config:
        return dict(config)
    scaling = config.get("rope_scaling") or {}
    if not isinstance(scaling, dict) or _holds_objects(scaling) or "type" in scaling:
        return dict(config)
    moved = ("rope_theta", "rope_scaling", "rope_local_base_freq")
    theta = {"rope_theta": config["rope_theta"]} if "rope_theta" in config else {}
    parts = {"full_attention": _flat({**theta, **scaling}, config)}
    if "rope_local_base_freq" in config:
        parts["sliding_attention"] = {"rope_theta": config["rope_local_base_freq"], "rope_type": "default"}
    return {key: value for key, value in config.items() if key not in moved} | {"rope_parameters": parts}


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """An object for each kind of layer, where nothing beside them could be meant for all."""
    parts = config.get("rope_parameters")
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        return dict(config)
    if config.keys() & {"rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor"}:
        return dict(config)
    return {**config, "rope_parameters": {kind: _flat(part, config) for kind, part in parts.items()}}


def _holds_objects(parameters: object) -> bool:
    return isinstance(parameters, dict) and any(isinstance(part, dict) for part in parameters.values())


def _flat(parameters: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(parameters)
    old_type = flat.pop("type", None)
    flat.setdefault("rope_type", old_type or "default")
    if flat["rope_type"] == "mrope":
        flat["rope_type"] = "default"
    if flat["rope_type"] in SCALED_TYPES and (length := _trained_length(config)) is not None:
        flat.setdefault("original_max_position_embeddings", length)
    return flat


def _trained_length(config: Mapping[str, Any]) -> object:
    if "original_max_position_embeddings" not in config:
        return config.get("max_position_embeddings")
    return config["original_max_position_embeddings"] if config.get("model_type") in LONG_TYPES else None
