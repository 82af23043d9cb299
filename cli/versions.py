"""Versions as people write them: the first digits of a digest."""

import re
from typing import Final

from cli.client import Suite
from services.common.errors import DomainError, Reason
from services.common.resource_names import check_slug

SHOWN_DIGITS: Final = 12
_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
_DIGEST_DIGITS: Final = 64


def short(digest: str) -> str:
    """As much of a digest as is shown."""
    return digest[:SHOWN_DIGITS]


def short_model(model: str) -> str:
    """``adapter@digest`` as it is shown, which `find_model` completes."""
    name, at, digest = model.partition("@")
    return f"{name}{at}{short(digest)}"


def find_model(suite: Suite, model: str) -> str:
    """Complete the version in ``adapter@version``; other models are left as they are.

    Raises:
        DomainError: as of `find_version`.
    """
    name, at, prefix = model.partition("@")
    if not at or len(prefix) == _DIGEST_DIGITS:
        return model
    return f"{name}@{find_version(suite, check_slug(name, 'model'), prefix)}"


def is_version(text: str) -> bool:
    """Whether a text can be a version, or the first digits of one."""
    return bool(_PREFIX.fullmatch(text))


def find_version(suite: Suite, adapter: str, prefix: str) -> str:
    """Complete the first 8 digits or more of a version of an adapter.

    Raises:
        DomainError: INVALID_ARGUMENT: it is no part of a digest, or of several; ADAPTER_VERSION_NOT_FOUND;
            ADAPTER_NOT_FOUND.
    """
    if not is_version(prefix):
        text = f"{prefix[:80]!r} is no version: give 8 to 64 of the digits that `tenon adapter show {adapter}` lists."
        raise DomainError(Reason.INVALID_ARGUMENT, text)
    if len(prefix) == _DIGEST_DIGITS:
        return prefix
    found = [row["id"] for row in suite.listed(f"/v1/adapters/{adapter}/versions") if row["id"].startswith(prefix)]
    if not found:
        text = f"{adapter} has no version {prefix}. `tenon adapter show {adapter}` lists those there are."
        raise DomainError(Reason.ADAPTER_VERSION_NOT_FOUND, text)
    if len(found) > 1:
        text = f"{len(found)} versions of {adapter} start with {prefix}; give more digits: {', '.join(found[:4])}."
        raise DomainError(Reason.INVALID_ARGUMENT, text)
    return str(found[0])
