"""Sessions of the console: a cookie that holds its user's key, sealed, so that nothing has to be kept here.

Whoever has the suite's service token can open a cookie, which is every gateway of the suite and nobody else. A new token ends all sessions.
"""

import base64
import binascii
import os
import time
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr
from starlette.datastructures import Headers

from services.common.errors import DomainError, Reason
from services.common.settings import AuthSettings

COOKIE: Final = "tenon_session"
LIFETIME_SECONDS: Final = 12 * 3600
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_CONTEXT: Final = b"tenon.gateway.session/1"
_NONCE_BYTES: Final = 12
_EXPIRY_BYTES: Final = 8
_MOST_CHARACTERS: Final = 512


class Sealer:
    """Seals keys by AES-256-GCM (NIST SP 800-38D), under a key made from the service token by HKDF (RFC 5869)."""

    def __init__(self, token: SecretStr) -> None:
        """Seal so that only holders of ``token`` can open it."""
        derived = HKDF(SHA256(), length=32, salt=None, info=_CONTEXT).derive(token.get_secret_value().encode())
        self._cipher = AESGCM(derived)

    def seal(self, key: str, *, now: float | None = None) -> str:
        """Make a session of an API key: text that fits into a cookie, good for `LIFETIME_SECONDS`."""
        expiry = int(time.time() if now is None else now) + LIFETIME_SECONDS
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, expiry.to_bytes(_EXPIRY_BYTES, "big") + key.encode(), _CONTEXT)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, session: str, *, now: float | None = None) -> str:
        """The key of a session; empty if it was altered, is over, or was sealed by another token."""
        if len(session) > _MOST_CHARACTERS:
            return ""
        try:
            raw = base64.b64decode(session, altchars=b"-_", validate=True)
            opened = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT)
        except (binascii.Error, ValueError, InvalidTag):
            return ""
        expiry = int.from_bytes(opened[:_EXPIRY_BYTES], "big")
        if expiry <= (time.time() if now is None else now):
            return ""
        return opened[_EXPIRY_BYTES:].decode()

    def key_of(self, headers: Headers) -> str:
        """The key that a request's cookie holds; empty if it holds none."""
        return self.open(session_cookie(headers))


def sealer_of(settings: AuthSettings) -> Sealer | None:
    """What opens a suite's sessions; None in a suite without keys."""
    return None if settings.service_token is None else Sealer(settings.service_token)


def session_cookie(headers: Headers) -> str:
    """The session that a request carries; empty if it carries none."""
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    found = cookies.get(COOKIE)
    return found.value if found else ""


def refuse_other_sites(method: str, headers: Headers, *, browser_only: bool = False) -> None:
    """Let a page of another site change nothing with a cookie that it cannot read.

    Browsers say where a request comes from by ``Sec-Fetch-Site`` (https://www.w3.org/TR/fetch-metadata/), older ones by ``Origin``.

    Args:
        method: of the request.
        headers: of the request.
        browser_only: let in what tells neither, as programs do.

    Raises:
        DomainError: PERMISSION_DENIED: it would change something and does not come from the console itself.
    """
    if method in SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None and browser_only:
        return
    own = site == "same-origin" if site is not None else bool(origin) and urlsplit(origin).netloc == headers.get("host")
    if not own:
        text = (
            "A session of the console changes things from the console's own pages only; elsewhere send the key itself."
        )
        raise DomainError(Reason.PERMISSION_DENIED, text)
