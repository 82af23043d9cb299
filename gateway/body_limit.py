"""How large a request's body may be, enforced while it is read."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import DomainError, Reason
from services.common.settings import MIB

# A client that is cut off while it sends often never reads why; so much is thrown away first.
_DISCARDED_BYTES: Final = 64 * MIB


class BodyLimit:
    """ASGI middleware: LIMIT_EXCEEDED once a body is larger than its path allows."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_bytes_of: Mapping[str, int]) -> None:
        """Limit bodies to ``max_bytes``, but on some paths to ``max_bytes_of`` the first expression that is the path."""
        self._app = app
        self._max_bytes = max_bytes
        self._max_bytes_of = [(re.compile(path), limit) for path, limit in max_bytes_of.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await _discard(receive)
            raise _too_large(limit)
        await self._app(scope, _limited(receive, limit), send)

    def _limit(self, path: str) -> int:
        return next((limit for known, limit in self._max_bytes_of if known.fullmatch(path)), self._max_bytes)


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                await _discard(receive)
                raise _too_large(limit)
        return message

    return counted


async def _discard(receive: Receive) -> None:
    seen = 0
    while seen < _DISCARDED_BYTES:
        message = await receive()
        seen += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _too_large(limit: int) -> DomainError:
    text = f"The body is larger than the {limit} bytes that are accepted here."
    return DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(limit)})
