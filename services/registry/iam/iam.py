"""The use cases of projects, keys and the audit log."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.common.auth.caller import Caller, Scope, current_caller
from services.common.auth.guard import EVERY_PROJECT, unauthenticated
from services.common.auth.introspection import caller_of, scope_from_proto
from services.common.auth.keys import key_digest, key_prefix, new_key
from services.common.errors import DomainError, Reason, Violation
from services.common.paging import decode_page_token, encode_page_token, page_limit
from services.common.resource_names import DEFAULT_PROJECT, ApiKeyName, ProjectName
from services.registry.dependants import Dependants, require_none
from services.registry.iam.convert import key_to_proto
from services.registry.iam.model import ApiKey, IamStore, NewKey, Project, RecordedEntry
from services.registry.model import Found
from tenon.iam.v1 import iam_pb2 as pb

MAX_NAME: Final = 256
MAX_LIMIT: Final = 2**53
MAX_RECORDED: Final = 500
DAY_SECONDS: Final = 24 * 3600.0
FORGOTTEN_AT_ONCE: Final = 1000


Contents = Callable[[ProjectName], Awaitable[Sequence[Dependants]]]
"""Tells what a project holds."""


async def nothing(_: ProjectName) -> Sequence[Dependants]:
    """The ``Contents`` of projects of which only keys are known."""
    return ()


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key, and its secret, which is told this once."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"MadeKey({self.key.name})"


class Iam:
    """Projects, keys and the audit log."""

    def __init__(self, store: IamStore, contents: Contents = nothing) -> None:
        """Keep everything in a store; others know what projects hold."""
        self._store = store
        self._contents = contents

    async def create_project(self, project_id: str, display_name: str) -> Project:
        """Make a project.

        Raises:
            DomainError: INVALID_ARGUMENT; PROJECT_EXISTS.
        """
        _check_text(display_name, "project.display_name")
        name = ProjectName.parse(f"projects/{project_id}", "project_id")
        made = await self._store.create_project(name.project, display_name)
        if made is None:
            text = f"There is a project {name.project} already, or was once. Choose another id."
            raise DomainError(Reason.PROJECT_EXISTS, text, {"project": str(name)})
        return made

    async def list_projects(self, page_size: int, page_token: str) -> tuple[Sequence[Project], str]:
        """List the caller's projects: the key's own, or all. A page, and the next one's token."""
        limit, after = page_limit(page_size), decode_page_token(page_token, "projects")
        found = await self._store.list_projects(after=after, limit=limit + 1, only=current_caller().project)
        more = len(found) > limit
        return found[:limit], encode_page_token(found[limit - 1].project if more else "", "projects")

    async def delete_project(self, name: str) -> None:
        """Delete a project that holds nothing; its id is never given again.

        Raises:
            DomainError: PROJECT_NOT_FOUND; RESOURCE_IN_USE; SERVICE_UNAVAILABLE: the trainer does not answer.
        """
        project = ProjectName.parse(name)
        if project.project == DEFAULT_PROJECT:
            text = f"{name} cannot be deleted: it is where everything goes that names no project."
            raise DomainError(Reason.RESOURCE_IN_USE, text, {"resource": name})

        # Asked before the store has a transaction: whoever waits for others must not hold a connection that they may need.
        held = await self._contents(project)

        def confirm(keys: Found[str]) -> None:
            found = [*held, Dependants(("valid key", "valid keys"), keys)]
            require_none(name, found, "Delete what it holds and revoke its keys first.")

        if not await self._store.delete_project(project.project, confirm):
            raise _no_project(project)

    async def create_key(self, parent: str, asked: pb.ApiKey) -> MadeKey:
        """Make a key that may do no more than its maker's.

        Raises:
            DomainError: INVALID_ARGUMENT; PERMISSION_DENIED; PROJECT_NOT_FOUND.
        """
        project, caller = ProjectName.parse(parent, "parent").project, current_caller()
        if asked.all_projects and not caller.is_suite_admin:
            text = "Only an admin key for all projects makes a key for all projects."
            raise DomainError(Reason.PERMISSION_DENIED, text, {"scope": "admin"})
        secret = new_key()
        new = NewKey(
            name=ApiKeyName(project, f"key-{secrets.token_hex(6)}"),
            display_name=_check_text(asked.display_name, "api_key.display_name"),
            prefix=key_prefix(secret),
            digest=key_digest(secret),
            scopes=_scopes(asked.scopes),
            all_projects=asked.all_projects,
            requests_per_minute=_limit(asked.requests_per_minute, "api_key.requests_per_minute"),
            tokens_per_minute=_limit(asked.tokens_per_minute, "api_key.tokens_per_minute"),
            creator=caller.principal,
            expire_time=_expiry(asked),
        )
        made = await self._store.create_key(new)
        if made is None:
            raise _no_project(ProjectName(project))
        return MadeKey(made, secret)

    async def get_key(self, name: str) -> ApiKey:
        """Get a key.

        Raises:
            DomainError: API_KEY_NOT_FOUND.
        """
        return _found(await self._store.find_key(ApiKeyName.parse(name)), name)

    async def list_keys(self, parent: str, page_size: int, page_token: str) -> tuple[Sequence[ApiKey], str]:
        """List a project's keys, the newest first. A page, and the next one's token."""
        project, scope = ProjectName.parse(parent, "parent").project, f"keys of {parent}"
        limit, before = page_limit(page_size), _position(page_token, scope)
        found = await self._store.list_keys(project, before=before, limit=limit + 1)
        more = len(found) > limit
        return found[:limit], encode_page_token(str(found[limit - 1].position) if more else "", scope)

    async def revoke_key(self, name: str) -> ApiKey:
        """End a key.

        Raises:
            DomainError: API_KEY_NOT_FOUND.
        """
        return _found(await self._store.revoke_key(ApiKeyName.parse(name)), name)

    async def list_entries(self, parent: str, page_size: int, page_token: str) -> tuple[Sequence[RecordedEntry], str]:
        """List what was done, the latest first. A page, and the next one's token."""
        every = parent == f"projects/{EVERY_PROJECT}"
        project, scope = None if every else ProjectName.parse(parent, "parent").project, f"audit of {parent}"
        limit, before = page_limit(page_size), _position(page_token, scope)
        found = await self._store.list_entries(project, before=before, limit=limit + 1)
        more = len(found) > limit
        return found[:limit], encode_page_token(str(found[limit - 1].sequence) if more else "", scope)

    async def forget_entries(self, days: float) -> int:
        """Forget what was done longer ago, and return how many entries that were."""
        total = count = await self._store.forget_entries(days * DAY_SECONDS, FORGOTTEN_AT_ONCE)
        while count == FORGOTTEN_AT_ONCE:
            count = await self._store.forget_entries(days * DAY_SECONDS, FORGOTTEN_AT_ONCE)
            total += count
        return total

    async def introspect(self, digest: str, project: str = "") -> ApiKey:
        """Tell whose key has a digest, and that there is a project, where the key is for all of them.

        Raises:
            DomainError: UNAUTHENTICATED; PROJECT_NOT_FOUND.
        """
        key = await self._store.find_valid(digest)
        if key is None:
            raise unauthenticated()
        if project and key.all_projects and not await self._store.list_projects(after="", limit=1, only=project):
            raise _no_project(ProjectName(project))
        return key

    async def caller(self, digest: str, project: str = "", /) -> Caller:
        """Tell who presents the key of a digest, as ``introspect`` does; for this process's own calls."""
        return caller_of(key_to_proto(await self.introspect(digest, project)))


def _no_project(name: ProjectName) -> DomainError:
    return DomainError(Reason.PROJECT_NOT_FOUND, f"There is no project {name.project}.", {"project": str(name)})


def _found(key: ApiKey | None, name: str) -> ApiKey:
    if key is None:
        raise DomainError(Reason.API_KEY_NOT_FOUND, f"There is no key {name}.", {"api_key": name})
    return key


def _invalid(field: str, text: str) -> DomainError:
    return DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])


def _check_text(text: str, field: str) -> str:
    if len(text) > MAX_NAME or "\0" in text:
        raise _invalid(field, f"it has {len(text)} characters; at most {MAX_NAME} are kept, none of them NUL")
    return text


def _scopes(asked: Sequence[pb.Scope]) -> tuple[Scope, ...]:
    scopes = tuple(dict.fromkeys(map(scope_from_proto, asked)))
    if not scopes:
        raise _invalid("api_key.scopes", "name at least one of read, train, serve and admin")
    return scopes


def _limit(value: int, field: str) -> int:
    if not 0 <= value <= MAX_LIMIT:
        raise _invalid(field, f"it is {value}; it must be 0 or more")
    return value


def _expiry(asked: pb.ApiKey) -> datetime | None:
    if not asked.HasField("expire_time"):
        return None
    try:
        time = asked.expire_time.ToDatetime(UTC)
    except ValueError:
        raise _invalid("api_key.expire_time", "it is no time") from None
    if time <= datetime.now(UTC):
        raise _invalid("api_key.expire_time", f"it is {time:%Y-%m-%d %H:%M:%S} UTC, which is over")
    return time


def _position(token: str, scope: str) -> int | None:
    key = decode_page_token(token, scope)
    return int(key) if key else None
