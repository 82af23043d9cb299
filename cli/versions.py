"""Versions as people write them: the first digits of a digest."""

import re
from typing import Final

from cli.client import Suite
from services.common.errors import DomainError, Reason

SHOWN_DIGITS: Final = 12
_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
_DIGEST_DIGITS: Final = 64


def short(digest: str) -> str:
    """As much of a digest as is shown."""
    return digest[:SHOWN_DIGITS]


def find_version(suite: Suite, adapter: str, prefix: str) -> str:
    """Complete the first 8 digits or more of a version of an adapter.

    Raises:
        DomainError: INVALID_ARGUMENT: it is no part of a digest, or of several; ADAPTER_VERSION_NOT_FOUND;
            ADAPTER_NOT_FOUND.
    """
    if not _PREFIX.fullmatch(prefix):
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
