"""What is kept of projects, keys and deeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from services.common.auth.caller import Scope
from services.common.auth.guard import AuditEntry
from services.common.resource_names import ApiKeyName
from services.registry.model import Found

LEAST_AUDIT_DAYS: Final = 30
"""What was done since then cannot be forgotten; Postgres refuses it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """See ``tenon.iam.v1.Project``."""

    project: str
    display_name: str
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be kept: all but its secret. See ``tenon.iam.v1.ApiKey``."""

    name: ApiKeyName
    display_name: str
    prefix: str
    digest: str
    scopes: tuple[Scope, ...]
    all_projects: bool
    requests_per_minute: int
    tokens_per_minute: int
    creator: str
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that is kept. ``position`` orders keys by when they were made."""

    name: ApiKeyName
    display_name: str
    prefix: str
    scopes: tuple[Scope, ...]
    all_projects: bool
    requests_per_minute: int
    tokens_per_minute: int
    creator: str
    expire_time: datetime | None
    create_time: datetime
    revoke_time: datetime | None
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEntry:
    """An audit entry in its place in the log."""

    sequence: int
    entry: AuditEntry


class IamStore(Protocol):
    """Where they are kept. Every method is a transaction of its own."""

    async def create_project(self, project: str, display_name: str) -> Project | None:
        """Make a project; None where there is one of that name, or was."""

    async def list_projects(self, *, after: str, limit: int, only: str | None) -> Sequence[Project]:
        """Projects by name, or the one of a name."""

    async def delete_project(self, project: str, confirm: Callable[[Found[str]], None]) -> bool:
        """Delete a project if ``confirm``, told of its valid keys, does not raise; no key is made meanwhile. False where there is none."""

    async def create_key(self, new: NewKey) -> ApiKey | None:
        """Keep a key; None where its project is not there."""

    async def find_key(self, name: ApiKeyName) -> ApiKey | None:
        """A key by its name."""

    async def list_keys(self, project: str, *, before: int | None, limit: int) -> Sequence[ApiKey]:
        """A project's keys, the newest first."""

    async def revoke_key(self, name: ApiKeyName) -> ApiKey | None:
        """End a key; one that has ended stays as it is. None where there is none."""

    async def find_valid(self, digest: str) -> ApiKey | None:
        """The key of a digest, if it is neither revoked nor expired."""

    async def put_admin_key(self, prefix: str, digest: str) -> None:
        """Have the embedded suite's own key be the one of this digest."""

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Add to the log."""

    async def forget_entries(self, seconds: float, limit: int) -> int:
        """Remove some of the entries that are older; return how many. Those of the last 30 days stay whatever is asked."""

    async def list_entries(self, project: str | None, *, before: int | None, limit: int) -> Sequence[RecordedEntry]:
        """The log of a project or, None, of all, the latest first."""
