"""A connection of HTTP/1.1 that does not wait for ever, and refuses what is no request the way everything else is refused.

uvicorn by itself waits for a request's head, and for a client to read, as long as it takes.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.context import SECURITY_HEADERS
from gateway.errors import error_body
from services.common.errors import DomainError, Reason

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for.

    Attributes:
        head_seconds: until the head of a request is there.
        stall_seconds: until some of what was sent is taken.
    """

    head_seconds: float
    stall_seconds: float

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What makes connections of such patience, as uvicorn takes it."""
        return partial(_Connection, patience=self)


class _Heads(h11.Connection):
    """Bounds heads that arrive at once, too, which h11 takes whatever their size."""

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
            if len(event.headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
                raise h11.RemoteProtocolError("too large", error_status_hint=431)
        return event


class _Connection(H11Protocol):
    def __init__(self, *arguments: Any, patience: Patience, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Heads(h11.SERVER, MAX_HEAD_BYTES)
        self._patience = patience
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own
        super().connection_made(transport)
        self._expect_head()

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_timer is None and self.conn.trailing_data[0]:
            # Between requests uvicorn waits itself, until the first byte.
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self._patience.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the same for every fault
        """Refuse what is no request; uvicorn calls it while it handles h11's error."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            text = f"The request's line and headers are more than {MAX_HEAD_BYTES} bytes, or more than {MAX_HEADERS} headers."
            self._refuse(431, DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(MAX_HEAD_BYTES)}))
        else:
            self._refuse(400, DomainError(Reason.INVALID_ARGUMENT, f"This is no request of HTTP/1.1: {error}."))

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._patience.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.conn.trailing_data[0]:
            # Browsers open connections beforehand.
            self.transport.close()
            return
        seconds = f"{self._patience.head_seconds:g}"
        text = f"The request's head was not there in time: {seconds} s are the limit."
        self._refuse(408, DomainError(Reason.REQUEST_TOO_SLOW, text, {"seconds": seconds}))

    def _refuse(self, status: int, error: DomainError) -> None:
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            # In the middle of an answer.
            self.transport.abort()
            return
        body = json.dumps(error_body(error), ensure_ascii=False).encode()
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        answer = h11.Response(status_code=status, headers=list(headers.items()))
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
