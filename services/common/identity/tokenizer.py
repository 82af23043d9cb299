"""Digest of a tokenizer: the pipeline of tokenizer.json and the roles of its special tokens.

Padding and truncation are the caller's and are left out. Trainer and inference tokenise with exactly this pipeline,
never with a class that rebuilds parts of it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.identity.base_directory import LIMITS, TOKENIZER
from services.common.identity.canonical import (
    canonical_json,
    canonical_pieces,
    digest_of,
    parse_json,
    sha256_hex,
    tag_numbers,
)
from services.common.identity.merges import cut_merges, read_merges

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


def pipeline_digest(data: bytes) -> str:
    """Digest of what tokenizer.json computes.

    Vocabulary and merges are read and spelled piece by piece as far as may be: the objects of a large file take ten times
    its size.

    Raises:
        DomainError: BASE_NOT_A_MODEL where it is not a tokenizer, LIMIT_EXCEEDED where it is too long.
    """
    mark = sha256_hex(data)  # nobody can write this into the data
    rest, begin = cut_merges(data, mark)
    model, steps = _read(rest)
    if begin is not None and model.get("merges") != mark:  # a list of that name, and none of the model's
        begin, (model, steps) = None, _read(data)
    large: dict[str, Iterable[bytes]] = {}
    if (merges := model.pop("merges", None)) is not None:
        large["merges"] = _spelled_merges([merges] if begin is None else read_merges(data, begin, what=TOKENIZER))
    if isinstance(model.get("vocab"), dict | list):
        large["vocab"] = canonical_pieces(model.pop("vocab"))
    marks = {key: f"{mark} {key}" for key in large}
    return _digest_with(canonical_json({**steps, "model": _model(model) | marks}), marks, large)


def _digest_with(text: bytes, marks: Mapping[str, str], large: Mapping[str, Iterable[bytes]]) -> str:
    """SHA-256 of a canonical form, with the large parts where their marks are."""
    hasher = hashlib.sha256()
    for key, mark in sorted(marks.items()):
        before, _, text = text.partition(canonical_json(mark))
        hasher.update(before)
        for piece in large[key]:
            hasher.update(piece)
    hasher.update(text)
    return hasher.hexdigest()


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model, and the canonical form of the steps beside it."""
    document = parse_json(data, what=TOKENIZER, limit=LIMITS[TOKENIZER], reason=Reason.BASE_NOT_A_MODEL)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise _not_a_tokenizer("has no model")
    steps = {key: _without_nulls(document[key]) for key in STEPS if document.get(key) is not None}
    steps["added_tokens"] = _added_tokens(steps.get("added_tokens", []))
    return document["model"], tag_numbers(steps)


def _model(model: dict[str, Any]) -> dict[str, Any]:
    """The small parts."""
    defaults = MODEL_DEFAULTS.get(str(model.get("type")), {})
    normal = tag_numbers(_without_nulls(model))
    return {key: value for key, value in normal.items() if key not in defaults or value != defaults[key]}


def _spelled_merges(blocks: Iterable[Any]) -> Iterator[bytes]:
    """Merges as pairs, in canonical form."""
    separator = b"["
    for merges in blocks:
        if not isinstance(merges, list):
            raise _not_a_tokenizer("has merges that are no list")
        yield separator + canonical_json([_pair(merge) for merge in merges])[1:-1]
        separator = b","
    yield b"]"


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
