"""Pages of lists: sizes, and tokens that are bound to the list they came from (https://google.aip.dev/158)."""

import base64
import binascii
import hashlib
import json

from services.common.errors import DomainError, Reason, Violation


def page_limit(page_size: int, *, default: int = 50, maximum: int = 500) -> int:
    """How many items a page has: ``default`` for 0, never more than ``maximum``.

    Raises:
        DomainError: INVALID_ARGUMENT for a negative size.
    """
    if page_size < 0:
        text = f"page_size is {page_size}; it must be 0 or more."
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("page_size", text)])
    return min(page_size or default, maximum)


def encode_page_token(key: str, scope: str) -> str:
    """Make the token that continues after ``key`` in the list that ``scope`` describes; empty for an empty key."""
    if not key:
        return ""
    return base64.urlsafe_b64encode(json.dumps([_scope_digest(scope), key]).encode()).decode().rstrip("=")


def decode_page_token(token: str, scope: str) -> str:
    """Read the key back; empty for an empty token.

    Raises:
        DomainError: INVALID_ARGUMENT if the token was not made for this list.
    """
    if not token:
        return ""
    try:
        digest, key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError):
        digest, key = None, None
    if digest != _scope_digest(scope) or not isinstance(key, str):
        text = "page_token is not from this list; start again without it."
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("page_token", text)])
    return key


def _scope_digest(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:16]
