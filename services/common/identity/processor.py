"""Digest of what turns images and sound into a model's input: the processor's files and its placeholder tokens."""

from collections.abc import Mapping
from typing import Any, Final

from services.common.identity.canonical import digest_of, tag_numbers
from services.common.identity.config import placeholder_tokens

__all__ = ["PROCESSOR_FILES", "processor_digest"]

PROCESSOR_FILES: Final = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
IGNORED: Final[Mapping[str, str]] = {
    "_name_or_path": "where it was read from",
    "_commit_hash": "the revision it was read from",
    "transformers_version": "who wrote it",
    "auto_map": "has a field of its own: code_digest",
    "chat_template": "has a field of its own: chat_template_digest",
}
"""Keys of the processor's files that are left out, each with its reason."""


def processor_digest(config: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Digest of {"files": name → content, "tokens": placeholder → id}; None for a base of text alone.

    Args:
        config: config.json as read.
        documents: name → content of the ``PROCESSOR_FILES`` that are there.
    """
    files = {name: _without(document) for name, document in documents.items() if name in PROCESSOR_FILES}
    tokens = placeholder_tokens(config)
    if not files and not tokens:
        return None
    return digest_of({"files": tag_numbers(files), "tokens": tokens})


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if item is not None and key not in IGNORED}
    if isinstance(value, list):
        return [_without(item) for item in value]
    return value
