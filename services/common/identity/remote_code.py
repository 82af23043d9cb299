"""Digest of the Python files a base brings along (``auto_map``). They are hashed, never run."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import digest_of, sha256_hex
from services.common.identity.files import read_file

__all__ = ["code_digest"]

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_FILES: Final = 256
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_IMPORT: Final = re.compile(r"^[ \t]*(?:import[ \t]+\.(\S+)[ \t]*$|from[ \t]+\.(\S*)[ \t]+import\b)", re.MULTILINE)
"""Relative imports, found as transformers finds them (``get_relative_imports``)."""


def code_digest(directory: Path, documents: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Digest of {"auto_map": document → its auto_map, "files": file → SHA-256}; None without any ``auto_map``.

    Args:
        directory: the base.
        documents: name → content of the documents that may have an ``auto_map``.

    Raises:
        DomainError: BASE_FILES_INCONSISTENT where a file is named that is not there or lies elsewhere.
    """
    maps = {name: document["auto_map"] for name, document in documents.items() if document.get("auto_map") is not None}
    if not maps:
        return None
    files: dict[str, str] = {}
    waiting = sorted({module for value in maps.values() for module in _local_modules(value)})
    while waiting:
        module = waiting.pop()
        name = f"{module}.py"
        if name in files:
            continue
        if len(files) == MAX_FILES:
            raise DomainError(Reason.LIMIT_EXCEEDED, f"The base brings more than {MAX_FILES} files of code.")
        source = _read(directory / name)
        files[name] = sha256_hex(source)
        waiting += _relative_imports(source, name)
    return digest_of({"auto_map": maps, "files": files})


def _local_modules(auto_map: Any) -> Iterator[str]:
    """Modules of references like ``modeling_x.XForCausalLM``; ``owner/repo--modeling_x.X`` lies in another repository."""
    for reference in _strings(auto_map):
        if "--" not in reference:
            yield _plain(reference.partition(".")[0], "auto_map")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _relative_imports(source: bytes, name: str) -> list[str]:
    text = source.decode("utf-8", "replace")
    return [_plain(match[1] or match[2], name) for match in _IMPORT.finditer(text)]


def _plain(module: str, where: str) -> str:
    if not _MODULE.fullmatch(module):
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT,
            f"{where} refers to the code {module[:80]!r}, which is no file beside config.json. Flatten the code.",
        )
    return module


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_FILE_BYTES)
    except DomainError as error:
        if error.reason is not Reason.BASE_NOT_A_MODEL:
            raise
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT, f"The base's code refers to {path.name}, which cannot be read. Add it."
        ) from None
