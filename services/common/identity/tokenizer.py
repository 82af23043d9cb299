"""Digest of a tokenizer: the pipeline of tokenizer.json and the roles of its special tokens.

Padding and truncation are the caller's and are left out. Trainer and inference tokenise with exactly this pipeline,
never with a class that rebuilds parts of it.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import digest_of, tag_numbers

__all__ = ["ROLES", "pipeline_digest", "special_token_roles", "template_digest", "templates_of", "tokenizer_digest"]

STEPS: Final = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")
ROLES: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL: Final = ("additional_special_tokens", "extra_special_tokens")
"""transformers 4's and 5's name for special tokens without a role."""

MODEL_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "BPE": {
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    },
    "Unigram": {"byte_fallback": False},
}
"""Fields that older releases of tokenizers did not write, with the value their absence means."""
STEP_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {"ByteLevel": {"use_regex": True}}


def tokenizer_digest(pipeline: str, roles: Mapping[str, Any]) -> str:
    """Digest of the whole: {"pipeline": its digest, "roles": the roles}."""
    return digest_of({"pipeline": pipeline, "roles": roles})


def pipeline_digest(document: Any) -> str:
    """Digest of what tokenizer.json computes.

    Raises:
        DomainError: BASE_NOT_A_MODEL where it is not a tokenizer.
    """
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise _not_a_tokenizer("has no model")
    parts = {key: _without_nulls(document[key]) for key in STEPS if document.get(key) is not None}
    parts["added_tokens"] = _added_tokens(parts.get("added_tokens", []))
    return digest_of(tag_numbers(parts) | {"model": _model(document["model"])})


def _model(model: dict[str, Any]) -> dict[str, Any]:
    """The large parts, vocabulary and merges, are walked as seldom as possible."""
    defaults = MODEL_DEFAULTS.get(str(model.get("type")), {})
    merges, vocabulary = model.get("merges"), model.get("vocab")
    rest = {key: value for key, value in model.items() if key not in {"merges", "vocab"}}
    normal = {
        key: value
        for key, value in tag_numbers(_without_nulls(rest)).items()
        if key not in defaults or value != defaults[key]
    }
    if merges is not None:
        normal["merges"] = _merges(merges)
    if vocabulary is not None:
        normal["vocab"] = vocabulary if _is_plain(vocabulary) else tag_numbers(vocabulary)
    return normal


def _is_plain(vocabulary: Any) -> bool:
    return isinstance(vocabulary, dict) and all(type(index) is int for index in vocabulary.values())


def _merges(merges: Any) -> list[list[str]]:
    if not isinstance(merges, list):
        raise _not_a_tokenizer("has merges that are no list")
    return [_pair(merge) for merge in merges]


def _pair(merge: Any) -> list[str]:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise _not_a_tokenizer(f"has a merge that is no pair: {str(merge)[:60]!r}")
    return pair


def _added_tokens(tokens: Any) -> list[dict[str, Any]]:
    if not isinstance(tokens, list) or not all(
        isinstance(token, dict) and isinstance(token.get("id"), int) for token in tokens
    ):
        raise _not_a_tokenizer("has added_tokens that are no list of tokens with ids")
    return sorted(tokens, key=lambda token: int(token["id"]))


def _without_nulls(value: Any) -> Any:
    """Null equals absent, and so does a step's default that older files do not spell out."""
    if isinstance(value, dict):
        defaults = STEP_DEFAULTS.get(str(value.get("type")), {})
        return {
            key: _without_nulls(item)
            for key, item in value.items()
            if item is not None and not (key in defaults and item == defaults[key])
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _not_a_tokenizer(fault: str) -> DomainError:
    return DomainError(Reason.BASE_NOT_A_MODEL, f"tokenizer.json {fault}. Restore the file that belongs to this model.")


def special_token_roles(tokenizer_config: Mapping[str, Any], special_tokens_map: Mapping[str, Any]) -> dict[str, Any]:
    """Which token plays which role, as tokenizer_config.json says, else special_tokens_map.json.

    Returns:
        Role → token text, and ``additional`` → sorted token texts without a role.
    """
    roles: dict[str, Any] = {}
    additional: set[str] = set()
    for source in (special_tokens_map, tokenizer_config):
        for role in ROLES:
            if (text := _text(source.get(role))) is not None:
                roles[role] = text
        for key in ADDITIONAL:
            named = source.get(key)
            if isinstance(named, dict):
                roles |= {name: text for name, value in named.items() if (text := _text(value)) is not None}
            elif isinstance(named, list):
                additional |= {text for value in named if (text := _text(value)) is not None}
    return {**roles, "additional": sorted(additional)} if additional else roles


def _text(token: Any) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def templates_of(tokenizer_config: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """Chat templates by name; ``default`` is the one used.

    Args:
        tokenizer_config: may hold one template, or a list of named ones.
        files: name → text of chat_template.jinja (``default``) and additional_chat_templates/*.jinja; they win.
    """
    embedded = tokenizer_config.get("chat_template")
    templates: dict[str, str] = {}
    if isinstance(embedded, str):
        templates["default"] = embedded
    elif isinstance(embedded, list):
        for item in embedded:
            if isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("template"), str):
                templates[item["name"]] = item["template"]
    return templates | dict(files)


def template_digest(templates: Mapping[str, str]) -> str | None:
    """Digest of the chat templates, wherever they were kept; None without any."""
    return digest_of(templates) if templates else None
