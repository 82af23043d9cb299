"""The registry's storage in memory, for tests: one transaction at a time, on a copy that replaces the original."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from services.common.idempotency import MemoryRequestLog, RequestLog
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, Found, NewBaseModel, NewVersion

T = TypeVar("T")
N = TypeVar("N", AdapterVersionName, AliasName)


@dataclass
class _Tables:
    base_models: dict[BaseModelName, BaseModel] = field(default_factory=dict)
    adapters: dict[AdapterName, Adapter] = field(default_factory=dict)
    versions: dict[AdapterVersionName, AdapterVersion] = field(default_factory=dict)
    aliases: dict[AliasName, Alias] = field(default_factory=dict)
    requests: dict[tuple[str, str, UUID], tuple[str, bytes]] = field(default_factory=dict)
    revocations: dict[tuple[str, str], tuple[datetime, str]] = field(default_factory=dict)
    counter: int = 0

    def copy(self) -> "_Tables":
        return _Tables(
            dict(self.base_models),
            dict(self.adapters),
            dict(self.versions),
            dict(self.aliases),
            dict(self.requests),
            dict(self.revocations),
            self.counter,
        )


class MemoryRegistryStore:
    """See `RegistryStore`."""

    def __init__(self) -> None:
        """Start empty."""
        self._tables = _Tables()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        """See `RegistryStore.transaction`."""
        async with self._turn:
            tables = self._tables.copy()
            yield MemoryTransaction(tables)
            self._tables = tables


class MemoryTransaction:
    """See `RegistryTransaction`."""

    def __init__(self, tables: _Tables) -> None:
        """Work on tables that nobody else has."""
        self._tables = tables
        self._now = datetime.now(UTC)

    @property
    def requests(self) -> RequestLog:
        """See `RegistryTransaction.requests`."""
        return MemoryRequestLog(self._tables.requests)

    async def insert_base_model(self, new: NewBaseModel) -> BaseModel | None:
        """See `RegistryTransaction.insert_base_model`."""
        if new.name in self._tables.base_models:
            return None
        base_model = BaseModel(
            new.name,
            new.display_name,
            new.fingerprint,
            new.document,
            new.sources,
            self._next(),
            self._now,
            self._now,
        )
        self._tables.base_models[new.name] = base_model
        return replace(base_model, document=b"")

    async def find_base_model(self, name: BaseModelName, *, document: bool = False) -> BaseModel | None:
        """See `RegistryTransaction.find_base_model`."""
        found = self._tables.base_models.get(name)
        return found if found is None or document else replace(found, document=b"")

    async def lock_base_model(self, name: BaseModelName) -> BaseModel | None:
        """See `RegistryTransaction.lock_base_model`."""
        return await self.find_base_model(name)

    async def set_sources(self, name: BaseModelName, sources: Sequence[str]) -> BaseModel:
        """See `RegistryTransaction.set_sources`."""
        changed = replace(
            self._tables.base_models[name], sources=tuple(sources), revision=self._next(), update_time=self._now
        )
        self._tables.base_models[name] = changed
        return replace(changed, document=b"")

    async def list_base_models(self, *, after: str, limit: int, fingerprint_id: str = "") -> Sequence[BaseModel]:
        """See `RegistryTransaction.list_base_models`."""
        found = [
            (name.base_model, replace(base_model, document=b""))
            for name, base_model in self._tables.base_models.items()
            if not fingerprint_id or base_model.fingerprint.id == fingerprint_id
        ]
        return _above(found, after, limit)

    async def keep_base_model(self, name: BaseModelName) -> BaseModel | None:
        """See `RegistryTransaction.keep_base_model`."""
        return await self.find_base_model(name)

    async def keep_base_model_of(self, fingerprint_id: str) -> bool:
        """See `RegistryTransaction.keep_base_model_of`."""
        return bool(await self.lock_twins(fingerprint_id))

    async def lock_twins(self, fingerprint_id: str) -> Sequence[BaseModelName]:
        """See `RegistryTransaction.lock_twins`."""
        twins = [name for name, base in self._tables.base_models.items() if base.fingerprint.id == fingerprint_id]
        return sorted(twins, key=str)

    async def list_versions_on(self, fingerprint_id: str, limit: int) -> Found[AdapterVersionName]:
        """See `RegistryTransaction.list_versions_on`."""
        versions = sorted(self._tables.versions.values(), key=lambda version: version.number)
        found = [
            version.name
            for version in map(self._withdrawn, versions)
            if version.base_fingerprint_id == fingerprint_id and version.revoke_time is None
        ]
        return Found(found[:limit], len(found))

    async def delete_base_model(self, name: BaseModelName) -> None:
        """See `RegistryTransaction.delete_base_model`."""
        del self._tables.base_models[name]

    async def insert_adapter(self, name: AdapterName, display_name: str, description: str) -> Adapter | None:
        """See `RegistryTransaction.insert_adapter`."""
        if name in self._tables.adapters:
            return None
        adapter = Adapter(name, display_name, description, self._next(), self._now, self._now)
        self._tables.adapters[name] = adapter
        return adapter

    async def find_adapter(self, name: AdapterName) -> Adapter | None:
        """See `RegistryTransaction.find_adapter`."""
        return self._tables.adapters.get(name)

    async def lock_adapter(self, name: AdapterName) -> Adapter | None:
        """See `RegistryTransaction.lock_adapter`."""
        return self._tables.adapters.get(name)

    async def count_below(self, name: AdapterName) -> tuple[int, int]:
        """See `RegistryTransaction.count_below`."""
        return len(_below(self._tables.versions, name)), len(_below(self._tables.aliases, name))

    async def delete_adapter(self, name: AdapterName) -> None:
        """See `RegistryTransaction.delete_adapter`."""
        for alias in _below(self._tables.aliases, name):
            del self._tables.aliases[alias]
        for version in _below(self._tables.versions, name):
            del self._tables.versions[version]
        del self._tables.adapters[name]

    async def touch_adapter(self, name: AdapterName) -> None:
        """See `RegistryTransaction.touch_adapter`."""
        self._tables.adapters[name] = replace(self._tables.adapters[name], revision=self._next(), update_time=self._now)

    async def list_adapters(self, project: str, *, after: str, limit: int) -> Sequence[Adapter]:
        """See `RegistryTransaction.list_adapters`."""
        found = [(name.adapter, adapter) for name, adapter in self._tables.adapters.items() if name.project == project]
        return _above(found, after, limit)

    async def insert_version(self, new: NewVersion) -> AdapterVersion:
        """See `RegistryTransaction.insert_version`."""
        version = AdapterVersion(
            name=new.name,
            manifest=new.manifest,
            base_model=new.base_model,
            base_fingerprint_id=new.trained_on.id,
            training_job=new.training_job,
            files=new.files,
            number=self._next(),
            provenance=new.provenance,
            signatures=new.signatures,
            create_time=self._now,
            ready_time=None,
        )
        self._tables.versions[new.name] = version
        return self._withdrawn(version)

    async def find_version(self, name: AdapterVersionName) -> AdapterVersion | None:
        """See `RegistryTransaction.find_version`."""
        version = self._tables.versions.get(name)
        return None if version is None else self._withdrawn(version)

    async def add_signatures(self, name: AdapterVersionName, signatures: Mapping[str, bytes]) -> AdapterVersion:
        """See `RegistryTransaction.add_signatures`."""
        known = self._tables.versions[name].signatures
        fresh = {key_id: signature for key_id, signature in signatures.items() if key_id not in known}
        return self._change(name, signatures={**fresh, **known})

    async def make_ready(self, name: AdapterVersionName) -> AdapterVersion:
        """See `RegistryTransaction.make_ready`."""
        return self._change(name, ready_time=self._now)

    async def revoke(self, name: AdapterVersionName, reason: str) -> AdapterVersion:
        """See `RegistryTransaction.revoke`."""
        self._tables.revocations.setdefault((name.project, name.version), (self._now, reason))
        return self._withdrawn(self._tables.versions[name])

    async def delete_version(self, name: AdapterVersionName) -> None:
        """See `RegistryTransaction.delete_version`."""
        del self._tables.versions[name]

    async def find_used_files(self, project: str, sha256s: Sequence[str]) -> set[str]:
        """See `RegistryTransaction.find_used_files`."""
        versions = [version for name, version in self._tables.versions.items() if name.project == project]
        return {file.sha256 for version in versions for file in version.files} & set(sha256s)

    async def list_versions(self, adapter: AdapterName, *, before: int, limit: int) -> Sequence[AdapterVersion]:
        """See `RegistryTransaction.list_versions`."""
        found = [
            replace(self._withdrawn(version), manifest=b"")
            for name, version in self._tables.versions.items()
            if AdapterName(name.project, name.adapter) == adapter and version.number < before
        ]
        return sorted(found, key=lambda version: -version.number)[:limit]

    async def find_alias(self, name: AliasName) -> Alias | None:
        """See `RegistryTransaction.find_alias`."""
        return self._tables.aliases.get(name)

    async def put_alias(self, name: AliasName, version: AdapterVersionName, *, gated: bool, reason: str) -> Alias:
        """See `RegistryTransaction.put_alias`."""
        self._tables.aliases[name] = Alias(name, version, self._next(), self._now, gated, reason)
        return self._tables.aliases[name]

    async def delete_alias(self, name: AliasName) -> None:
        """See `RegistryTransaction.delete_alias`."""
        self._tables.aliases.pop(name, None)

    async def list_aliases_of(self, version: AdapterVersionName) -> Sequence[Alias]:
        """See `RegistryTransaction.list_aliases_of`."""
        found = [alias for alias in self._tables.aliases.values() if alias.version == version]
        return sorted(found, key=lambda alias: alias.name.alias)

    async def list_aliases(self, adapter: AdapterName, *, after: str, limit: int) -> Sequence[Alias]:
        """See `RegistryTransaction.list_aliases`."""
        found = [
            (name.alias, alias)
            for name, alias in self._tables.aliases.items()
            if AdapterName(name.project, name.adapter) == adapter
        ]
        return _above(found, after, limit)

    def _change(self, name: AdapterVersionName, **changes: Any) -> AdapterVersion:
        self._tables.versions[name] = replace(self._tables.versions[name], **changes)
        return self._withdrawn(self._tables.versions[name])

    def _withdrawn(self, version: AdapterVersion) -> AdapterVersion:
        """The version with what is known of its withdrawal, under whichever adapter's name that was."""
        found = self._tables.revocations.get((version.name.project, version.name.version))
        return replace(version, revoke_time=found[0], revoke_reason=found[1]) if found else version

    def _next(self) -> int:
        self._tables.counter += 1
        return self._tables.counter


def _below(names: Iterable[N], adapter: AdapterName) -> list[N]:
    return [name for name in names if AdapterName(name.project, name.adapter) == adapter]


def _above(found: Iterable[tuple[str, T]], after: str, limit: int) -> Sequence[T]:
    return [item for key, item in sorted(found, key=lambda pair: pair[0]) if key > after][:limit]
