"""Projects, keys and the audit log in Postgres, schema ``iam``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from services.common.auth.caller import Scope
from services.common.auth.guard import AuditEntry
from services.common.db import Database, load_queries
from services.common.resource_names import ApiKeyName
from services.registry.dependants import NAMED
from services.registry.iam.model import LEAST_AUDIT_DAYS, ApiKey, NewKey, Project, RecordedEntry
from services.registry.model import Found

SCHEMA: Final = "iam"
MIGRATIONS: Final = "services.registry.iam.migrations"
ADMIN_KEY: Final = "embedded-admin"

Row = Mapping[str, Any]


class PostgresIamStore:
    """See `IamStore`."""

    def __init__(self, database: Database) -> None:
        """Keep everything in a database that is migrated."""
        self._database = database
        self._queries = load_queries("services.registry.iam")

    async def create_project(self, project: str, display_name: str) -> Project | None:
        """See `IamStore.create_project`."""
        rows = await self._rows("insert_project", project=project, display_name=display_name)
        return Project(**rows[0]) if rows else None

    async def list_projects(self, *, after: str, limit: int, only: str | None) -> Sequence[Project]:
        """See `IamStore.list_projects`."""
        return [Project(**row) for row in await self._rows("list_projects", after=after, limit=limit, only=only)]

    async def delete_project(self, project: str, confirm: Callable[[Found[str]], None]) -> bool:
        """See `IamStore.delete_project`."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(self._queries["lock_project"], {"project": project})
            if await cursor.fetchone() is None:
                return False
            cursor = await connection.execute(self._queries["list_valid_keys"], {"project": project, "limit": NAMED})
            keys = await cursor.fetchall()
            names = [str(ApiKeyName(project, key["api_key"])) for key in keys]
            confirm(Found(names, keys[0]["total"] if keys else 0))
            await connection.execute(self._queries["delete_project"], {"project": project})
        return True

    async def create_key(self, new: NewKey) -> ApiKey | None:
        """See `IamStore.create_key`."""
        values = {key: value for key, value in asdict(new).items() if key != "name"}
        scopes = [scope.value for scope in new.scopes]
        return _first(await self._rows("insert_key", **{**values, **asdict(new.name), "scopes": scopes}))

    async def find_key(self, name: ApiKeyName) -> ApiKey | None:
        """See `IamStore.find_key`."""
        return _first(await self._rows("find_key", **asdict(name)))

    async def list_keys(self, project: str, *, before: int | None, limit: int) -> Sequence[ApiKey]:
        """See `IamStore.list_keys`."""
        return [_key(row) for row in await self._rows("list_keys", project=project, before=before, limit=limit)]

    async def revoke_key(self, name: ApiKeyName) -> ApiKey | None:
        """See `IamStore.revoke_key`."""
        return _first(await self._rows("revoke_key", **asdict(name)))

    async def find_valid(self, digest: str) -> ApiKey | None:
        """See `IamStore.find_valid`."""
        return _first(await self._rows("find_valid_key", digest=digest))

    async def put_admin_key(self, prefix: str, digest: str) -> None:
        """See `IamStore.put_admin_key`."""
        values = {"api_key": ADMIN_KEY, "display_name": "the key in run/admin.key", "prefix": prefix, "digest": digest}
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["replace_admin_key"], values)

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """See `IamStore.record`."""
        async with self._database.transaction() as connection:
            for entry in entries:
                await connection.execute(self._queries["insert_audit_event"], asdict(entry))

    async def forget_entries(self, seconds: float, limit: int) -> int:
        """See `IamStore.forget_entries`."""
        age = max(seconds, LEAST_AUDIT_DAYS * 24 * 3600)
        async with self._database.transaction() as connection:
            query = self._queries["forget_audit_events"]
            return (await connection.execute(query, {"seconds": age, "limit": limit})).rowcount

    async def list_entries(self, project: str | None, *, before: int | None, limit: int) -> Sequence[RecordedEntry]:
        """See `IamStore.list_entries`."""
        rows = await self._rows("list_audit_events", project=project, before=before, limit=limit)
        return [_entry(row) for row in rows]

    async def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        async with self._database.transaction() as connection:
            return await (await connection.execute(self._queries[query], values)).fetchall()


def _first(rows: Sequence[Row]) -> ApiKey | None:
    return _key(rows[0]) if rows else None


def _key(row: Row) -> ApiKey:
    columns = {key: value for key, value in row.items() if key not in {"project", "api_key", "digest", "scopes"}}
    name, scopes = ApiKeyName(row["project"], row["api_key"]), tuple(map(Scope, row["scopes"]))
    return ApiKey(name=name, scopes=scopes, **columns)


def _entry(row: Row) -> RecordedEntry:
    columns = {key: value for key, value in row.items() if key not in {"sequence", "time"}}
    return RecordedEntry(sequence=row["sequence"], entry=AuditEntry(time=row["time"].timestamp(), **columns))
