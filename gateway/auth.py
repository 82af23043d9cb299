"""Who sends a request, and whether they may be let in: by a key, or in the console by a session."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.console import is_console
from gateway.limits import ALLOWANCE, Limits
from gateway.session import refuse_other_sites
from services.common.auth.caller import ANYONE, Caller, call_by
from services.common.auth.credentials import PRESENTED, Presented, bearer
from services.common.auth.guard import unauthenticated
from services.common.auth.introspection import Introspect
from services.common.auth.keys import is_key, key_digest
from services.common.errors import DomainError, Reason
from services.common.resource_names import DEFAULT_PROJECT, ProjectName

OPEN: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Paths that tell nothing of anybody."""

SESSION_PATH: Final = "/v1/session"
"""Where a session begins and ends, for whoever has none or one that is over."""

PROJECT_HEADERS: Final = ("tenon-project", "openai-project")
"""Where a key for all projects says which one it means."""

_PROJECT: ContextVar[str] = ContextVar("project", default=DEFAULT_PROJECT)


def current_project() -> str:
    """The id of the project that the request at hand is about."""
    return _PROJECT.get()


class Authentication:
    """ASGI middleware: lets in whoever presents a key that the suite knows."""

    def __init__(
        self, app: ASGIApp, introspect: Introspect | None, key_of_session: Callable[[Headers], str] | None = None
    ) -> None:
        """Surround an application.

        Args:
            app: what is behind.
            introspect: tells who presents a key; None lets everybody in.
            key_of_session: finds the key in the cookie of a browser that is logged in; empty where there is none.
        """
        self._app = app
        self._introspect = introspect
        self._key_of_session = key_of_session
        self._limits = Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on behalf of whoever sends it.

        Raises:
            DomainError: UNAUTHENTICATED; PERMISSION_DENIED: the project asked for is not the key's, or a page of another site
                uses a session; RATE_LIMITED;
                SERVICE_UNAVAILABLE where nobody can tell who it is.
        """
        if scope["type"] != "http" or _is_open(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = ANYONE
        if self._introspect is not None:
            key = bearer(headers.get("authorization", "")) or self._session_key(scope["method"], headers)
            if not is_key(key):
                raise unauthenticated()
            caller = await self._introspect(key_digest(key))
            PRESENTED.set(Presented(SecretStr(key), _peer(scope)))
        scope.setdefault("state", {})["caller"] = caller
        _PROJECT.set(_project(headers, caller))
        allowance = self._limits.of(caller)
        allowance.take_request()
        ALLOWANCE.set(allowance)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        with call_by(caller):
            await self._app(scope, receive, send_with_limits)

    def _session_key(self, method: str, headers: Headers) -> str:
        key = self._key_of_session(headers) if self._key_of_session else ""
        if key:
            refuse_other_sites(method, headers)
        return key


def _is_open(scope: Scope) -> bool:
    path, method = scope["path"], scope["method"]
    return path in OPEN or is_console(path) or (path == SESSION_PATH and method in {"POST", "DELETE"})


def _project(headers: Headers, caller: Caller) -> str:
    asked = next((headers[name] for name in PROJECT_HEADERS if headers.get(name)), None)
    if asked is None:
        return caller.project or DEFAULT_PROJECT
    if not caller.may_touch(asked):
        text = f"This key is for project {caller.project}, and the request's header names another one."
        raise DomainError(Reason.PERMISSION_DENIED, text)
    return ProjectName.parse(f"projects/{asked}", "Tenon-Project").project


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else "unknown"
