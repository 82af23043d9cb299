"""Projects, keys and the audit log in the memory of one process, for tests."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime

from services.common.auth.caller import Scope
from services.common.auth.guard import AuditEntry
from services.common.resource_names import DEFAULT_PROJECT, ApiKeyName
from services.registry.dependants import NAMED
from services.registry.iam.model import LEAST_AUDIT_DAYS, ApiKey, NewKey, Project, RecordedEntry
from services.registry.iam.postgres import ADMIN_KEY
from services.registry.model import Found


class MemoryIamStore:
    """See `IamStore`."""

    def __init__(self) -> None:
        """Begin with the default project."""
        now = datetime.now(UTC)
        default = Project(project=DEFAULT_PROJECT, display_name="", create_time=now)
        self._projects = {DEFAULT_PROJECT: default}
        self._deleted: set[str] = set()
        self._keys: dict[ApiKeyName, ApiKey] = {}
        self._digests: dict[str, ApiKeyName] = {}
        self._entries: list[RecordedEntry] = []
        self._sequences = itertools.count(1)

    async def delete_project(self, project: str, confirm: Callable[[Found[str]], None]) -> bool:
        """See `IamStore.delete_project`."""
        if project not in self._projects or project in self._deleted:
            return False
        keys = [str(name) for name in self._keys if name.project == project and self._is_valid(name)]
        confirm(Found(keys[:NAMED], len(keys)))
        self._deleted.add(project)
        return True

    async def create_project(self, project: str, display_name: str) -> Project | None:
        """See `IamStore.create_project`."""
        if project in self._projects:
            return None
        made = Project(project=project, display_name=display_name, create_time=datetime.now(UTC))
        self._projects[project] = made
        return made

    async def list_projects(self, *, after: str, limit: int, only: str | None) -> Sequence[Project]:
        """See `IamStore.list_projects`."""
        names = sorted(name for name in self._projects.keys() - self._deleted if name > after and only in {None, name})
        return [self._projects[name] for name in names[:limit]]

    async def create_key(self, new: NewKey) -> ApiKey | None:
        """See `IamStore.create_key`."""
        if new.name.project not in self._projects.keys() - self._deleted:
            return None
        values = {field.name: getattr(new, field.name) for field in fields(new) if field.name != "digest"}
        key = ApiKey(**values, create_time=datetime.now(UTC), revoke_time=None, position=len(self._keys) + 1)
        self._keys[new.name] = key
        self._digests[new.digest] = new.name
        return key

    async def find_key(self, name: ApiKeyName) -> ApiKey | None:
        """See `IamStore.find_key`."""
        return self._keys.get(name)

    async def list_keys(self, project: str, *, before: int | None, limit: int) -> Sequence[ApiKey]:
        """See `IamStore.list_keys`."""
        mine = [key for key in self._keys.values() if key.name.project == project]
        found = [key for key in mine if before is None or key.position < before]
        return sorted(found, key=lambda key: -key.position)[:limit]

    async def revoke_key(self, name: ApiKeyName) -> ApiKey | None:
        """See `IamStore.revoke_key`."""
        key = self._keys.get(name)
        if key is not None and key.revoke_time is None:
            key = self._keys[name] = replace(key, revoke_time=datetime.now(UTC))
        return key

    async def find_valid(self, digest: str) -> ApiKey | None:
        """See `IamStore.find_valid`."""
        name = self._digests.get(digest)
        return self._keys[name] if name is not None and self._is_valid(name) else None

    def _is_valid(self, name: ApiKeyName) -> bool:
        key = self._keys[name]
        return key.revoke_time is None and (key.expire_time is None or key.expire_time > datetime.now(UTC))

    async def put_admin_key(self, prefix: str, digest: str) -> None:
        """See `IamStore.put_admin_key`."""
        name = ApiKeyName(DEFAULT_PROJECT, ADMIN_KEY)
        self._digests = {digest: kept for digest, kept in self._digests.items() if kept != name}
        await self.create_key(
            NewKey(
                name=name,
                display_name="the key in run/admin.key",
                prefix=prefix,
                digest=digest,
                scopes=(Scope.ADMIN,),
                all_projects=True,
                requests_per_minute=0,
                tokens_per_minute=0,
                creator="services/registry",
                expire_time=None,
            )
        )

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """See `IamStore.record`."""
        for entry in entries:
            self._entries.append(RecordedEntry(sequence=next(self._sequences), entry=entry))

    async def forget_entries(self, seconds: float, limit: int) -> int:
        """See `IamStore.forget_entries`."""
        before = datetime.now(UTC).timestamp() - max(seconds, LEAST_AUDIT_DAYS * 24 * 3600)
        old = [kept for kept in self._entries if kept.entry.time < before][:limit]
        self._entries = [kept for kept in self._entries if kept not in old]
        return len(old)

    async def list_entries(self, project: str | None, *, before: int | None, limit: int) -> Sequence[RecordedEntry]:
        """See `IamStore.list_entries`."""
        found = [
            kept
            for kept in reversed(self._entries)
            if (project is None or kept.entry.project == project) and (before is None or kept.sequence < before)
        ]
        return found[:limit]
