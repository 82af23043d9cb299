"""API keys: how they look, how they are made, and the digest that is all that is kept of them."""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "tenon-"
SHOWN: Final = 14
"""Characters that a key is recognised by; what remains has 190 bits."""

_KEY: Final = re.compile(r"tenon-[A-Za-z0-9_-]{40}")


def new_key() -> str:
    """Make a key, of 240 random bits."""
    return PREFIX + secrets.token_urlsafe(30)


def key_prefix(key: str) -> str:
    """The part that may be shown."""
    return key[:SHOWN]


def is_key(text: str) -> bool:
    """Whether a text looks like a key."""
    return _KEY.fullmatch(text) is not None


def key_digest(key: str) -> str:
    """SHA-256, 64 hex digits. A key is as random as a digest, so no slow hash is needed to keep it from being guessed."""
    return hashlib.sha256(key.encode()).hexdigest()
