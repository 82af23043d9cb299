"""The documents of a base, read once: configuration, tokenizer, templates, processor, generation defaults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.identity import tokenizer
from services.common.identity.base_directory import TOKENIZER, Layout, read_object
from services.common.identity.canonical import decode_special_floats
from services.common.identity.config import architecture_of
from services.common.identity.files import read_file
from services.common.identity.processor import PROCESSOR_FILES

__all__ = ["Documents", "read_documents"]

MAX_TEMPLATES: Final = 64
MAX_TEMPLATE_BYTES: Final = 1024 * 1024
_TEMPLATE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.jinja")


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents, parsed where they are JSON.

    Attributes:
        config: config.json, non-finite floats as floats.
        architecture: see ``architecture_of``.
        tokenizer_json: the bytes of tokenizer.json, or None.
        roles: the special tokens' roles.
        templates: chat templates by name.
        processor: name → content of the processor's files.
        generation_config: generation_config.json, or None.
        auto_maps: name → content of the documents that may name code.
    """

    config: dict[str, Any]
    architecture: str
    tokenizer_json: bytes | None
    roles: Mapping[str, Any]
    templates: Mapping[str, str]
    processor: Mapping[str, Mapping[str, Any]]
    generation_config: dict[str, Any] | None
    auto_maps: Mapping[str, Mapping[str, Any]]


def read_documents(layout: Layout) -> Documents:
    """Parse the documents that ``examine`` read.

    Raises:
        DomainError: BASE_NOT_A_MODEL where one is malformed or config.json names no model.
    """
    parsed = {
        name: read_object(data, name)
        for name, data in layout.documents.items()
        if name.endswith(".json") and name != TOKENIZER
    }
    config = decode_special_floats(parsed["config.json"])
    tokenizer_config = parsed.get("tokenizer_config.json", {})
    return Documents(
        config=config,
        architecture=_architecture(config),
        tokenizer_json=layout.documents.get(TOKENIZER),
        roles=tokenizer.special_token_roles(tokenizer_config, parsed.get("special_tokens_map.json", {})),
        templates=tokenizer.templates_of(tokenizer_config, _template_files(layout)),
        processor={name: parsed[name] for name in PROCESSOR_FILES if name in parsed},
        generation_config=parsed.get("generation_config.json"),
        auto_maps={
            name: parsed[name] for name in ("config.json", "tokenizer_config.json", *PROCESSOR_FILES) if name in parsed
        },
    )


def _architecture(config: Mapping[str, Any]) -> str:
    architecture = architecture_of(config)
    if architecture is None:
        raise DomainError(
            Reason.BASE_NOT_A_MODEL, "config.json names no architecture (architectures). Restore the model's own file."
        )
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise DomainError(Reason.BASE_NOT_A_MODEL, "config.json names no model_type. Restore the model's own file.")
    return architecture


def _template_files(layout: Layout) -> dict[str, str]:
    files: dict[str, str] = {}
    if (default := layout.documents.get("chat_template.jinja")) is not None:
        files["default"] = _text(default, "chat_template.jinja")
    folder = layout.directory / "additional_chat_templates"
    if folder.is_dir():
        for path in _template_paths(folder):
            files[path.stem] = _text(read_file(path, MAX_TEMPLATE_BYTES), path.name)
    return files


def _template_paths(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if _TEMPLATE_NAME.fullmatch(path.name))
    except OSError as error:
        raise DomainError(
            Reason.BASE_NOT_A_MODEL, f"{folder} cannot be listed: {error.strerror}. Check its permissions."
        ) from None
    if len(paths) > MAX_TEMPLATES:
        raise DomainError(Reason.LIMIT_EXCEEDED, f"{folder} holds more than {MAX_TEMPLATES} chat templates.")
    return paths


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise DomainError(Reason.BASE_NOT_A_MODEL, f"{name} is not UTF-8. Restore the file.") from None
