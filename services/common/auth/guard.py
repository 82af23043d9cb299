"""What stands before every call of a server: who calls, whether they may, and a line in the audit log of what they changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from google.protobuf.message import Message
from grpc import StatusCode
from pydantic import SecretStr

from services.common.auth.caller import Caller, call_by
from services.common.auth.credentials import AUTHORIZATION, PEER, bearer, is_service_token, service_of
from services.common.auth.introspection import Introspect
from services.common.auth.keys import is_key, key_digest
from services.common.auth.projects import project_of, resources_of
from services.common.auth.rules import RULES, Rule
from services.common.errors import DomainError, Reason
from services.common.resource_names import is_project

OPEN: Final = ("/grpc.health.v1.", "/grpc.reflection.")
"""What says nothing of anybody: whether a server serves, and what its contracts are."""

EVERY_PROJECT: Final = "-"

MOST_CHARACTERS: Final = 512
"""Of a resource name in the audit log; names that are any are shorter."""

RENEWAL_SECONDS: Final = 1.0
"""How long a stream goes on before it is asked again who reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What somebody changed, or tried to; see ``tenon.iam.v1.AuditEvent``. ``time`` is in seconds since the epoch."""

    time: float
    principal: str
    project: str
    method: str
    resource: str
    peer: str
    code: str


class AuditLog(Protocol):
    """Where audit entries go."""

    async def ready(self) -> None:
        """Raise DomainError where an entry could not be kept, so that nothing is changed of which none would tell."""

    async def record(self, entry: AuditEntry) -> None:
        """Keep an entry."""


@dataclass(slots=True)
class Admitted:
    """A call that may be made; what it asks for is still to be looked at.

    Attributes:
        caller: who makes it.
        changes: whether its method changes something in a project.
        ask: tells whether its key is still valid, and whether a project that it names is there; None for services.
        resource: the first that it names.
    """

    caller: Caller
    changes: bool = False
    ask: Callable[[str], Awaitable[object]] | None = None
    resource: str = field(default="")
    _asked: float = field(default_factory=time.monotonic)

    async def renew(self) -> None:
        """Ask now and then, while a call goes on, whether its key still is one: a stream may outlive it.

        Raises:
            DomainError: UNAUTHENTICATED.
        """
        if self.ask is not None and time.monotonic() - self._asked > RENEWAL_SECONDS:
            self._asked = time.monotonic()
            await self.ask("")

    async def check(self, request: Message) -> None:
        """Look at a request, or at a part of one.

        Raises:
            DomainError: PERMISSION_DENIED: it names something of another project. PROJECT_NOT_FOUND: it would change something
                in a project that is not there, which only a key for all projects can ask for.
        """
        for resource in resources_of(request):
            self.resource = self.resource or resource
            project = project_of(resource)
            allowed = project is None or (
                self.caller.project is None if project == EVERY_PROJECT else self.caller.may_touch(project)
            )
            if not allowed:
                text = f"This key is for project {self.caller.project}, and the request names something outside it."
                raise DomainError(Reason.PERMISSION_DENIED, text)
            if project is not None:
                await self._require_project(project)

    async def _require_project(self, project: str) -> None:
        """Refuse a change in a project that is not there. What is no project's id is left to whoever reads the name."""
        if self.changes and self.ask is not None and self.caller.project is None and is_project(project):
            await self.ask(project)

    async def check_each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Look at each part of a streamed request as it comes."""
        async for request in requests:
            await self.check(request)
            yield request


class Guard:
    """Admits calls."""

    def __init__(self, introspect: Introspect, token: SecretStr, log: AuditLog) -> None:
        """Admit whoever ``introspect`` knows, and services that carry the suite's token."""
        self._introspect = introspect
        self._token = token
        self._log = log

    @asynccontextmanager
    async def admit(self, method: str, metadata: Mapping[str, str], peer: str) -> AsyncIterator[Admitted | None]:
        """Let a call be made, on its caller's behalf; None for what is open to all.

        Raises:
            DomainError: UNAUTHENTICATED; PERMISSION_DENIED; SERVICE_UNAVAILABLE where nobody can tell who calls.
        """
        if method.startswith(OPEN):
            yield None
            return
        rule = RULES.get(method)
        from_service = is_service_token(metadata, self._token)
        ask = self._question(metadata, from_service=from_service)
        caller = await ask("") if ask else service_of(metadata)
        # The others are about projects themselves, or about what all of them share.
        inside = rule is not None and rule.mutates and not rule.all_projects
        admitted = Admitted(caller, changes=inside, ask=ask)
        # Only the suite's own may say where somebody calls from.
        origin = metadata.get(PEER, peer) if from_service else peer
        if rule is None or not rule.mutates:
            _require(rule, caller)
            with call_by(caller):
                yield admitted
            return
        await self._log.ready()
        code = StatusCode.OK
        try:
            _require(rule, caller)
            with call_by(caller):
                yield admitted
        except DomainError as error:
            code = error.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            code = StatusCode.CANCELLED
            raise
        except Exception:
            code = StatusCode.INTERNAL
            raise
        finally:
            await self._log.record(
                AuditEntry(
                    time=time.time(),
                    principal=caller.principal,
                    project=caller.project or project_of(admitted.resource) or "",
                    method=method,
                    resource=_fit_to_keep(admitted.resource),
                    peer=origin,
                    code=code.name,
                )
            )

    def _question(
        self, metadata: Mapping[str, str], *, from_service: bool
    ) -> Callable[[str], Coroutine[Any, Any, Caller]] | None:
        """What tells who calls; None where a service calls by itself."""
        key = bearer(metadata.get(AUTHORIZATION, ""))
        if not key and from_service:
            return None
        if not is_key(key):
            raise unauthenticated()
        digest = key_digest(key)
        return partial(self._introspect, digest)


def _fit_to_keep(name: str) -> str:
    """A name as somebody sent it, who may have sent anything: Postgres keeps no NUL, and a log no novels."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name[:MOST_CHARACTERS])


def _require(rule: Rule | None, caller: Caller) -> None:
    if rule is None:
        raise DomainError(Reason.PERMISSION_DENIED, "Nobody may call this method.")
    if caller.is_service:
        return
    if rule.services_only:
        raise DomainError(Reason.PERMISSION_DENIED, "Only services of the suite may call this method.")
    if rule.all_projects and not caller.is_suite_admin:
        text = "This needs an admin key for all projects."
        raise DomainError(Reason.PERMISSION_DENIED, text, {"scope": "admin"})
    if not caller.has_any(rule.scopes):
        wanted = sorted(scope.value for scope in rule.scopes) or ["admin"]
        text = f"This key lacks the scope for that: it needs {' or '.join(wanted)}."
        raise DomainError(Reason.PERMISSION_DENIED, text, {"scope": ",".join(wanted)})


def unauthenticated() -> DomainError:
    """The one error for whoever is not known, so that nobody learns which keys there are."""
    return DomainError(
        Reason.UNAUTHENTICATED,
        "There is no valid API key. Send `Authorization: Bearer KEY` with one that is neither revoked nor expired.",
    )
