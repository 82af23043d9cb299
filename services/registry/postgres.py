"""The registry's storage in Postgres, schema `registry`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from psycopg.sql import SQL
from psycopg.types.json import Json

from services.common.db import Connection, Database, load_queries
from services.common.idempotency import PostgresRequestLog, RequestLog
from services.common.identity import FingerprintSummary
from services.common.manifest import ManifestFile, Provenance
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, Found, NewBaseModel, NewVersion

SCHEMA = "registry"
MIGRATIONS = "services.registry.migrations"

Row = dict[str, Any]


class PostgresRegistryStore:
    """See `RegistryStore`."""

    def __init__(self, database: Database) -> None:
        """Keep everything in a database that is migrated."""
        self._database = database
        self._queries = load_queries("services.registry")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """See `RegistryStore.transaction`."""
        async with self._database.transaction() as connection:
            yield PostgresTransaction(connection, self._queries)


class PostgresTransaction:
    """See `RegistryTransaction`."""

    def __init__(self, connection: Connection, queries: Mapping[str, SQL]) -> None:
        """Work on the connection of one transaction."""
        self._connection = connection
        self._queries = queries

    @property
    def requests(self) -> RequestLog:
        """See `RegistryTransaction.requests`."""
        return PostgresRequestLog(self._connection, SCHEMA)

    async def insert_base_model(self, new: NewBaseModel) -> BaseModel | None:
        """See `RegistryTransaction.insert_base_model`."""
        row = await self._one(
            "insert_base_model",
            base_model=new.name.base_model,
            display_name=new.display_name,
            fingerprint_id=new.fingerprint.id,
            fingerprint=Json(new.fingerprint.summary()),
            document=new.document,
            sources=list(new.sources),
        )
        return _base_model(row) if row else None

    async def find_base_model(self, name: BaseModelName, *, document: bool = False) -> BaseModel | None:
        """See `RegistryTransaction.find_base_model`."""
        row = await self._one("find_base_model", **asdict(name), document=document)
        return _base_model(row) if row else None

    async def lock_base_model(self, name: BaseModelName) -> BaseModel | None:
        """See `RegistryTransaction.lock_base_model`."""
        row = await self._one("lock_base_model", **asdict(name))
        return _base_model(row) if row else None

    async def set_sources(self, name: BaseModelName, sources: Sequence[str]) -> BaseModel:
        """See `RegistryTransaction.set_sources`."""
        return _base_model(await self._same("set_sources", **asdict(name), sources=list(sources)))

    async def list_base_models(self, *, after: str, limit: int, fingerprint_id: str = "") -> Sequence[BaseModel]:
        """See `RegistryTransaction.list_base_models`."""
        query = "list_base_models_of_fingerprint" if fingerprint_id else "list_base_models"
        rows = await self._all(query, after=after, limit=limit, fingerprint_id=fingerprint_id)
        return [_base_model(row) for row in rows]

    async def keep_base_model(self, name: BaseModelName) -> BaseModel | None:
        """See `RegistryTransaction.keep_base_model`."""
        row = await self._one("keep_base_model", **asdict(name))
        return _base_model(row) if row else None

    async def keep_base_model_of(self, fingerprint_id: str) -> bool:
        """See `RegistryTransaction.keep_base_model_of`."""
        return await self._one("keep_base_model_of_fingerprint", fingerprint_id=fingerprint_id) is not None

    async def lock_twins(self, fingerprint_id: str) -> Sequence[BaseModelName]:
        """See `RegistryTransaction.lock_twins`."""
        return [BaseModelName(**row) for row in await self._all("lock_twins", fingerprint_id=fingerprint_id)]

    async def list_versions_on(self, fingerprint_id: str, limit: int) -> Found[AdapterVersionName]:
        """See `RegistryTransaction.list_versions_on`."""
        rows = await self._all("list_versions_on", fingerprint_id=fingerprint_id, limit=limit)
        names = [AdapterVersionName(row["project"], row["adapter"], row["version"]) for row in rows]
        return Found(names, rows[0]["total"] if rows else 0)

    async def delete_base_model(self, name: BaseModelName) -> None:
        """See `RegistryTransaction.delete_base_model`."""
        await self._execute("delete_base_model", **asdict(name))

    async def insert_adapter(self, name: AdapterName, display_name: str, description: str) -> Adapter | None:
        """See `RegistryTransaction.insert_adapter`."""
        row = await self._one("insert_adapter", **asdict(name), display_name=display_name, description=description)
        return _adapter(row) if row else None

    async def find_adapter(self, name: AdapterName) -> Adapter | None:
        """See `RegistryTransaction.find_adapter`."""
        row = await self._one("find_adapter", **asdict(name))
        return _adapter(row) if row else None

    async def lock_adapter(self, name: AdapterName) -> Adapter | None:
        """See `RegistryTransaction.lock_adapter`."""
        row = await self._one("lock_adapter", **asdict(name))
        return _adapter(row) if row else None

    async def count_below(self, name: AdapterName) -> tuple[int, int]:
        """See `RegistryTransaction.count_below`."""
        row = await self._same("count_below_adapter", **asdict(name))
        return row["versions"], row["aliases"]

    async def delete_adapter(self, name: AdapterName) -> None:
        """See `RegistryTransaction.delete_adapter`."""
        for query in ("delete_aliases_of_adapter", "delete_versions_of_adapter", "delete_adapter"):
            await self._execute(query, **asdict(name))

    async def touch_adapter(self, name: AdapterName) -> None:
        """See `RegistryTransaction.touch_adapter`."""
        await self._execute("touch_adapter", **asdict(name))

    async def list_adapters(self, project: str, *, after: str, limit: int) -> Sequence[Adapter]:
        """See `RegistryTransaction.list_adapters`."""
        return [_adapter(row) for row in await self._all("list_adapters", project=project, after=after, limit=limit)]

    async def insert_version(self, new: NewVersion) -> AdapterVersion:
        """See `RegistryTransaction.insert_version`."""
        await self._execute(
            "insert_version",
            **asdict(new.name),
            manifest=new.manifest,
            base_model=new.base_model.base_model,
            base_fingerprint_id=new.trained_on.id,
            training_job=new.training_job,
            files=Json([asdict(file) for file in new.files]),
            provenance=new.provenance.value,
        )
        return await self.add_signatures(new.name, new.signatures)

    async def add_signatures(self, name: AdapterVersionName, signatures: Mapping[str, bytes]) -> AdapterVersion:
        """See `RegistryTransaction.add_signatures`."""
        key_ids, values = list(signatures), list(signatures.values())
        await self._execute("insert_signatures", **asdict(name), key_ids=key_ids, signatures=values)
        return _version(await self._same("find_version", **asdict(name)))

    async def find_version(self, name: AdapterVersionName) -> AdapterVersion | None:
        """See `RegistryTransaction.find_version`."""
        row = await self._one("find_version", **asdict(name))
        return _version(row) if row else None

    async def make_ready(self, name: AdapterVersionName) -> AdapterVersion:
        """See `RegistryTransaction.make_ready`."""
        await self._execute("make_ready", **asdict(name))
        return _version(await self._same("find_version", **asdict(name)))

    async def revoke(self, name: AdapterVersionName, reason: str) -> AdapterVersion:
        """See `RegistryTransaction.revoke`."""
        await self._execute("insert_revocation", **asdict(name), reason=reason)
        return _version(await self._same("find_version", **asdict(name)))

    async def delete_version(self, name: AdapterVersionName) -> None:
        """See `RegistryTransaction.delete_version`."""
        await self._execute("delete_version", **asdict(name))

    async def find_used_files(self, project: str, sha256s: Sequence[str]) -> set[str]:
        """See `RegistryTransaction.find_used_files`."""
        rows = await self._all("find_used_files", project=project, sha256s=list(sha256s))
        return {row["sha256"] for row in rows}

    async def list_versions(self, adapter: AdapterName, *, before: int, limit: int) -> Sequence[AdapterVersion]:
        """See `RegistryTransaction.list_versions`."""
        rows = await self._all("list_versions", **asdict(adapter), before=before, limit=limit)
        return [_version(row) for row in rows]

    async def find_alias(self, name: AliasName) -> Alias | None:
        """See `RegistryTransaction.find_alias`."""
        row = await self._one("find_alias", **asdict(name))
        return _alias(row) if row else None

    async def put_alias(self, name: AliasName, version: AdapterVersionName, *, gated: bool, reason: str) -> Alias:
        """See `RegistryTransaction.put_alias`."""
        return _alias(
            await self._same("put_alias", **asdict(name), version=version.version, gated=gated, reason=reason)
        )

    async def delete_alias(self, name: AliasName) -> None:
        """See `RegistryTransaction.delete_alias`."""
        await self._execute("delete_alias", **asdict(name))

    async def list_aliases_of(self, version: AdapterVersionName) -> Sequence[Alias]:
        """See `RegistryTransaction.list_aliases_of`."""
        return [_alias(row) for row in await self._all("list_aliases_of_version", **asdict(version))]

    async def list_aliases(self, adapter: AdapterName, *, after: str, limit: int) -> Sequence[Alias]:
        """See `RegistryTransaction.list_aliases`."""
        return [_alias(row) for row in await self._all("list_aliases", **asdict(adapter), after=after, limit=limit)]

    async def _execute(self, query: str, **parameters: Any) -> None:
        await self._connection.execute(self._queries[query], parameters)

    async def _one(self, query: str, **parameters: Any) -> Row | None:
        cursor = await self._connection.execute(self._queries[query], parameters)
        return await cursor.fetchone()

    async def _same(self, query: str, **parameters: Any) -> Row:
        """Run a statement whose row is there, because the transaction has seen and locked it."""
        row = await self._one(query, **parameters)
        if row is None:
            raise LookupError(f"{query} found no row")
        return row

    async def _all(self, query: str, **parameters: Any) -> Sequence[Row]:
        cursor = await self._connection.execute(self._queries[query], parameters)
        return await cursor.fetchall()


def _base_model(row: Row) -> BaseModel:
    return BaseModel(
        name=BaseModelName(row["base_model"]),
        display_name=row["display_name"],
        fingerprint=FingerprintSummary(**row["fingerprint"]),
        document=bytes(row["document"]),
        sources=tuple(row["sources"]),
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _adapter(row: Row) -> Adapter:
    return Adapter(
        name=AdapterName(row["project"], row["adapter"]),
        display_name=row["display_name"],
        description=row["description"],
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _version(row: Row) -> AdapterVersion:
    return AdapterVersion(
        name=AdapterVersionName(row["project"], row["adapter"], row["version"]),
        manifest=bytes(row["manifest"]),
        base_model=BaseModelName(row["base_model"]),
        base_fingerprint_id=row["base_fingerprint_id"],
        training_job=row["training_job"],
        files=tuple(ManifestFile(**file) for file in row["files"]),
        number=row["number"],
        provenance=Provenance(row["provenance"]),
        signatures=dict(zip(row["key_ids"], map(bytes, row["signatures"]), strict=True)),
        create_time=row["create_time"],
        ready_time=row["ready_time"],
        revoke_time=row["revoke_time"],
        revoke_reason=row["revoke_reason"] or "",
    )


def _alias(row: Row) -> Alias:
    return Alias(
        name=AliasName(row["project"], row["adapter"], row["alias"]),
        version=AdapterVersionName(row["project"], row["adapter"], row["version"]),
        revision=row["revision"],
        update_time=row["update_time"],
        gated=row["gated"],
        reason=row["reason"],
    )
