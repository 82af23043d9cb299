"""config.json without what does not change the computation, in one spelling.

Every key left out is in a table here with its reason; any other difference counts.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.common.identity.canonical import tag_numbers
from services.common.identity.nulls import is_meaningful_null
from services.common.identity.rope import normalize_rope

__all__ = ["IGNORED_KEYS", "SAMPLING_DEFAULTS", "architecture_of", "is_config", "normalize_config", "text_config"]
__all__ += ["ROLE_TOKENS", "placeholder_tokens", "ties_output"]

IGNORED_KEYS: Final[Mapping[str, str]] = {
    "_name_or_path": "where it was read from",
    "name_or_path": "where it was read from",
    "_commit_hash": "the revision it was read from",
    "transformers_version": "who wrote it",
    "dtype": "each tensor's dtype is in the structure; the compute dtype is recorded as compute",
    "torch_dtype": "transformers-4 spelling of dtype",
    "use_cache": "whether keys and values are kept, not what they are",
    "attn_implementation": "which kernel computes attention, not what it computes",
    "_attn_implementation": "which kernel computes attention",
    "_attn_implementation_internal": "which kernel computes attention",
    "_attn_implementation_autoset": "which kernel computes attention",
    "_flash_attn_2_enabled": "which kernel computes attention (before transformers 4.36)",
    "experts_implementation": "which kernel computes the experts",
    "_experts_implementation": "which kernel computes the experts",
    "_experts_implementation_internal": "which kernel computes the experts",
    "output_attentions": "what a forward pass returns beside the logits",
    "output_hidden_states": "what a forward pass returns beside the logits",
    "return_dict": "in which container a forward pass returns",
    "architectures": "has a field of its own: architecture",
    "quantization_config": "has a field of its own: quantization",
    "auto_map": "has a field of its own: code_digest",
}
"""Keys left out at every level of the configuration, each with its reason."""

SAMPLING_DEFAULTS: Final = frozenset({
    "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens",
    "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_scores", "prefix", "remove_invalid_values", "repetition_penalty",
    "return_dict_in_generate", "suppress_tokens", "target_lookbehind", "task_specific_params", "temperature",
    "top_k", "top_p", "typical_p",
})  # fmt: skip
"""Generation parameters that transformers 4 kept in config.json; they are the request's, not the model's."""

TOKEN_ID_SUFFIXES: Final = ("_token_id", "_token_ids", "_token_index")
ROLE_TOKENS: Final = frozenset(
    f"{role}_token_id" for role in ("bos", "eos", "pad", "sep", "cls", "mask", "unk", "decoder_start")
)
"""Token ids that only say which token plays a role: the tokenizer's digest covers the roles."""

PADDING_STEERS: Final = frozenset({
    "camembert", "cohere_compass_text", "data2vec-text", "roberta", "roberta-prelayernorm", "xglm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Model types whose ``pad_token_id`` enters the computation: positions are counted from it, or it is masked."""

RENAMED_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "bloom": {"n_embed": "hidden_size"},
    "falcon": {"n_embed": "hidden_size"},
}
"""By model type: spellings that older releases wrote, and the one that counts; where both stand, the older wins."""

RENAMED_LAYER_TYPES: Final = {"attention": "full_attention", "mamba": "linear_attention"}
"""transformers-4 names in ``layer_types``, and the transformers-5 name."""


def normalize_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical configuration: what ``config_digest`` is taken over.

    Args:
        config: config.json as read.

    Returns:
        A JSON mapping that RFC 8785 can serialise.
    """
    normal = _normalize(config)
    return dict(tag_numbers(normal))


def _normalize(config: Mapping[str, Any]) -> dict[str, Any]:
    normal: dict[str, Any] = {}
    renames = RENAMED_KEYS.get(str(config.get("model_type")), {})
    for key, value in config.items():
        if key in IGNORED_KEYS or key in SAMPLING_DEFAULTS or (_is_token_id(key) and not _steers(key, config)):
            continue
        if value is not None or is_meaningful_null(config.get("model_type"), key):
            normal[key] = _normalize(value) if is_config(key, value) else _without_nulls(value)
    for old, new in renames.items():
        if normal.get(old) is not None:
            normal[new] = normal.pop(old)
    if isinstance(layer_types := normal.get("layer_types"), list):
        normal["layer_types"] = [_layer_type(value) for value in layer_types]
    return normalize_rope(normal)


def is_config(key: str, value: Any) -> bool:
    """Whether a value is the configuration of a part (and not, say, a vocabulary with a token named "dtype")."""
    return isinstance(value, dict) and (key.endswith("_config") or "model_type" in value)


def _layer_type(value: Any) -> Any:
    return RENAMED_LAYER_TYPES.get(value, value) if isinstance(value, str) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _is_token_id(key: str) -> bool:
    return key.endswith(TOKEN_ID_SUFFIXES)


def _steers(key: str, config: Mapping[str, Any]) -> bool:
    return key == "pad_token_id" and str(config.get("model_type")) in PADDING_STEERS


def placeholder_tokens(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Token ids that steer the computation, such as where image features go; they count with the processor.

    Returns:
        Dotted key → id, with ``_token_index`` spelled ``_token_id``.
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if is_config(key, value):
            found |= placeholder_tokens(value, f"{path}{key}.")
        elif value is not None and _is_token_id(key) and key not in ROLE_TOKENS and key not in SAMPLING_DEFAULTS:
            found[path + key.replace("_token_index", "_token_id")] = tag_numbers(value)
    return found


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """The class that computes the model; several are joined by ``+``; None where config.json names none."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        return None
    return "+".join(names)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a multimodal configuration, or the configuration itself."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def ties_output(config: Mapping[str, Any]) -> bool:
    """Whether the output matrix may be the input embedding: unless config.json says no (transformers 4's default)."""
    tied = config.get("tie_word_embeddings")
    if tied is None:
        tied = text_config(config).get("tie_word_embeddings")
    return tied is not False
