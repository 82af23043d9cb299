"""How large a request's body may be and how long it may take, enforced while it is read, and what becomes of one that nobody reads."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import DomainError, Reason
from services.common.settings import MIB

# A client that is cut off while it sends often never reads why; so much is thrown away first, for so long.
_DISCARDED_BYTES: Final = 64 * MIB
_DISCARDING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What holds for the bodies of some paths.

    Attributes:
        path: an expression that is the whole path.
        max_bytes: the largest one.
        seconds: how long it may take to arrive; for a stream how long it may bring nothing.
        is_stream: whether it is passed on while it arrives.
    """

    path: str
    max_bytes: int
    seconds: float
    is_stream: bool = True


class BodyLimit:
    """ASGI middleware: LIMIT_EXCEEDED once a body is larger than its path allows, REQUEST_TOO_SLOW once it takes longer."""

    def __init__(self, app: ASGIApp, *, rules: Iterable[BodyRule]) -> None:
        """Hold each body to the first rule that is about its path; one must be."""
        self._app = app
        self._rules = [(re.compile(rule.path), rule) for rule in rules]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        rule = next(rule for known, rule in self._rules if known.fullmatch(path))
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > rule.max_bytes:
            raise _too_large(rule)
        await self._app(scope, _limited(receive, rule), send)


def _limited(receive: Receive, rule: BodyRule) -> Receive:
    loop = asyncio.get_running_loop()
    received, is_whole = 0, False
    until = loop.time() + rule.seconds

    async def counted() -> Message:
        nonlocal received, is_whole
        if is_whole:
            # What comes now is the client's leaving, whenever that is.
            return await receive()
        try:
            async with asyncio.timeout_at(loop.time() + rule.seconds if rule.is_stream else until):
                message = await receive()
        except TimeoutError:
            raise _too_slow(rule) from None
        if message["type"] == "http.request":
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > rule.max_bytes:
                raise _too_large(rule)
        return message

    return counted


class UnreadBody:
    """ASGI middleware: a request that is refused before its body was read is not sent the rest of it.

    The server would take in all of it, whatever its size, before the connection's next request. Put it outermost.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Surround an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if not _has_body(headers):
            await self._app(scope, receive, send)
            return
        # Whoever waits to be told to go on has sent nothing yet.
        waits = headers.get("expect", "").lower() == "100-continue"
        is_whole = False

        async def watched() -> Message:
            nonlocal is_whole, waits
            waits = False
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and not is_whole:
                # Whoever was too slow is not waited for again.
                if not waits and message["status"] != 408:
                    await _discard(watched)
                if not is_whole:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, watched, send_and_close)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _discard(receive: Receive) -> None:
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARDING_SECONDS):
            while seen < _DISCARDED_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large(rule: BodyRule) -> DomainError:
    text = f"The body is larger than the {rule.max_bytes} bytes that are accepted here."
    return DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(rule.max_bytes)})


def _too_slow(rule: BodyRule) -> DomainError:
    what = "For so long nothing of the body came" if rule.is_stream else "The body was not there in time"
    return DomainError(
        Reason.REQUEST_TOO_SLOW, f"{what}: {rule.seconds:g} s are the limit.", {"seconds": f"{rule.seconds:g}"}
    )
