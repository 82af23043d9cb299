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

Source: ``RotaryEmbeddingConfigMixin`` of transformers 5 and the model classes that override it.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["normalize_rope"]

GPT_NEOX_KEYS: Final = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
MOVED_KEYS: Final = ("rope_theta", "partial_rotary_factor")
SCALED_TYPES: Final = ("llama3", "yarn", "longrope")
"""Types for which transformers 5 writes the pretraining length into the parameters."""


def normalize_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Move the rotary keys of one configuration; other keys stay as they are."""
    config = {GPT_NEOX_KEYS.get(key, key): value for key, value in config.items()}
    given = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(given, dict) and "rope_theta" not in config:
        return config
    moved: dict[str, Any] = {key: config.pop(key) for key in MOVED_KEYS if key in config}
    config.pop("rope_scaling", None)
    parameters = given if isinstance(given, dict) else {}
    if "rope_local_base_freq" in config:
        config["rope_parameters"] = _gemma(parameters, moved, config.pop("rope_local_base_freq"), config)
    elif _is_nested(parameters):
        config["rope_parameters"] = {kind: _flat(part, moved, config) for kind, part in parameters.items()}
    else:
        config["rope_parameters"] = _flat(parameters, moved, config)
    return config


def _is_nested(parameters: Mapping[str, Any]) -> bool:
    return bool(parameters) and all(isinstance(part, dict) for part in parameters.values())


def _gemma(
    parameters: Mapping[str, Any], moved: Mapping[str, Any], local_theta: object, config: Mapping[str, Any]
) -> dict[str, Any]:
    full = _flat(parameters, moved, config)
    return {"full_attention": full, "sliding_attention": {"rope_theta": local_theta, "rope_type": "default"}}


def _flat(parameters: Mapping[str, Any], moved: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**moved, **parameters}
    old_type = flat.pop("type", None)
    flat.setdefault("rope_type", old_type or "default")
    if flat["rope_type"] == "mrope":
        flat["rope_type"] = "default"
    if flat["rope_type"] in SCALED_TYPES:
        length = config.get("original_max_position_embeddings", config.get("max_position_embeddings"))
        if length is not None:
            flat.setdefault("original_max_position_embeddings", length)
    return flat
