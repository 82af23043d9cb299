"""What surrounds every request: its id, its trace, its log line, security headers, and an answer to the unexpected."""

import re
import secrets
import time
from typing import Final

import structlog
from opentelemetry import metrics, propagate, trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import error_response
from services.common.errors import DomainError, Reason
from services.common.telemetry import current_trace_id

REQUEST_ID_HEADER: Final = "x-request-id"

# No answer of the API is a page, and none may be kept, framed or taken for something else; the console's files have headers of their own.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Asked every second or so by supervisors.
_QUIET: Final = {"/healthz", "/readyz"}

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RequestContext:
    """ASGI middleware; put it outermost."""

    def __init__(self, app: ASGIApp) -> None:
        """Surround an application."""
        self._app = app
        self._tracer = trace.get_tracer(__name__)
        self._durations = metrics.get_meter(__name__).create_histogram(
            "http.server.request.duration", unit="s", description="How long requests took to answer."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within a server span that continues the caller's trace."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        parent = propagate.extract(dict(headers))
        name = f"{scope['method']} {scope['path']}"
        with (
            self._tracer.start_as_current_span(name, parent, kind=trace.SpanKind.SERVER) as span,
            structlog.contextvars.bound_contextvars(request_id=_request_id(headers)),
        ):
            answer = _Answer(scope, send, span)
            try:
                await self._answer(scope, receive, answer)
            finally:
                self._durations.record(answer.seconds, answer.record())

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            _require_text(scope["path"])
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            # Nobody is left to answer.
            log.info("client went away", method=scope["method"], path=scope["path"])
        except DomainError as error:
            await self._fail(scope, receive, answer, error)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            await self._fail(scope, receive, answer, _internal_error())

    async def _fail(self, scope: Scope, receive: Receive, answer: "_Answer", error: DomainError) -> None:
        if answer.status:
            # Too late for another status: the connection ends early, and the caller sees that.
            raise error
        await error_response(error)(scope, receive, answer.send)


class _Answer:
    """Watches what is sent, and adds the headers that every answer has."""

    def __init__(self, scope: Scope, send: Send, span: trace.Span) -> None:
        self.status = 0
        self._scope = scope
        self._send = send
        self._span = span
        self._started = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers[REQUEST_ID_HEADER] = structlog.contextvars.get_contextvars()["request_id"]
        await self._send(message)

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.perf_counter() - self._started

    def record(self) -> dict[str, str | int]:
        """Name the span after the route, log the request, and give what describes it (OpenTelemetry's names)."""
        method, path = self._scope["method"], self._scope["path"]
        route = getattr(self._scope.get("route"), "path", path)
        self._span.update_name(f"{method} {route}")
        facts = {"http.request.method": method, "http.route": route, "http.response.status_code": self.status}
        self._span.set_attributes(facts)
        if path not in _QUIET:
            milliseconds = round(self.seconds * 1000, 1)
            log.info("request answered", method=method, path=path, status=self.status, milliseconds=milliseconds)
        return facts


def _require_text(path: str) -> None:
    # Routes overlook a line break at the end, so that two paths would be one.
    if not path.isprintable():
        raise DomainError(Reason.INVALID_ARGUMENT, "The path has characters that no name here has.")


def _request_id(headers: Headers) -> str:
    sent = headers.get(REQUEST_ID_HEADER, "")
    return sent if _REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"


def _internal_error() -> DomainError:
    return DomainError(
        Reason.INTERNAL,
        "The gateway failed; its log has the details under this trace id.",
        {"trace_id": current_trace_id()},
    )
