"""Who presents a key: asked of ``tenon.iam.v1``, and remembered for a few seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from services.common.auth.caller import Caller, Scope
from services.common.errors import DomainError, Reason
from services.common.resource_names import ApiKeyName, ProjectName
from tenon.iam.v1 import iam_pb2, iam_pb2_grpc

REMEMBERED_SECONDS: Final = 3.0
"""A key that is revoked may still open what it opened for so long; five seconds are promised, and a call takes time."""
MOST_REMEMBERED: Final = 4096


class Introspect(Protocol):
    """Tells who presents a key."""

    def __call__(self, digest: str, project: str = "", /) -> Coroutine[Any, Any, Caller]:
        """Tell whose key has a digest, and that there is a project, where the key is for all of them.

        Args:
            digest: SHA-256 of the key, in hex.
            project: id of the one that is about to be changed, or empty.

        Raises:
            DomainError: UNAUTHENTICATED; PROJECT_NOT_FOUND.
        """


class RememberedIntrospection:
    """Asks once for calls that come at the same time, and remembers callers and strangers alike."""

    def __init__(self, ask: Introspect, *, seconds: float = REMEMBERED_SECONDS) -> None:
        """Remember what ``ask`` tells for some seconds; its errors other than UNAUTHENTICATED are not remembered."""
        self._ask = ask
        self._seconds = seconds
        self._known: OrderedDict[tuple[str, str], tuple[float, asyncio.Task[Caller]]] = OrderedDict()

    async def __call__(self, digest: str, project: str = "", /) -> Caller:
        """Tell who presents a key; see ``Introspect``.

        Raises:
            DomainError: UNAUTHENTICATED; PROJECT_NOT_FOUND; SERVICE_UNAVAILABLE and the like.
        """
        now, asked = time.monotonic(), (digest, project)
        until, task = self._known.get(asked, (0.0, None))
        if task is None or until <= now:
            # Shielded below: a caller that goes away must not take the answer from the others.
            task = asyncio.create_task(self._ask(digest, project))
            self._known[asked] = now + self._seconds, task
            self._known.move_to_end(asked)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(task)
        except DomainError as error:
            if error.reason is not Reason.UNAUTHENTICATED and self._known.get(asked, (0.0, None))[1] is task:
                del self._known[asked]
            raise


def by_rpc(stub: "iam_pb2_grpc.IntrospectionServiceAsyncStub") -> Introspect:
    """Ask the registry's process."""

    async def ask(digest: str, project: str = "", /) -> Caller:
        name = str(ProjectName(project)) if project else ""
        return caller_of((await stub.Introspect(iam_pb2.IntrospectRequest(key_sha256=digest, project=name))).api_key)

    return ask


def caller_of(key: iam_pb2.ApiKey) -> Caller:
    """Who presents a key."""
    name = ApiKeyName.parse(key.name)
    return Caller(
        principal=key.name,
        project=None if key.all_projects else name.project,
        scopes=frozenset(scope_from_proto(scope) for scope in key.scopes),
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
    )


_SCOPES: Final = {
    Scope.READ: iam_pb2.SCOPE_READ,
    Scope.TRAIN: iam_pb2.SCOPE_TRAIN,
    Scope.SERVE: iam_pb2.SCOPE_SERVE,
    Scope.ADMIN: iam_pb2.SCOPE_ADMIN,
}


def scope_from_proto(scope: iam_pb2.Scope) -> Scope:
    """Read a scope.

    Raises:
        DomainError: INVALID_ARGUMENT: no scope of this version.
    """
    known = next((ours for ours, theirs in _SCOPES.items() if theirs == scope), None)
    if known is None:
        raise DomainError(Reason.INVALID_ARGUMENT, f"{scope} is no scope that this version knows.")
    return known


def scope_to_proto(scope: Scope) -> iam_pb2.Scope:
    """Write a scope."""
    return _SCOPES[scope]
