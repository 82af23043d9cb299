"""What the registry asks of its storage."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from services.common.idempotency import RequestLog
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, Found, NewBaseModel, NewVersion


class RegistryTransaction(Protocol):
    """Reads and writes that happen together or not at all.

    Whatever changes an adapter, its versions or its aliases locks the adapter first.
    """

    @property
    def requests(self) -> RequestLog:
        """The answers given to calls with a request_id."""

    async def insert_base_model(self, new: NewBaseModel) -> BaseModel | None:
        """Add a base model; None where the id is taken."""

    async def find_base_model(self, name: BaseModelName, *, document: bool = False) -> BaseModel | None:
        """Return a base model, with its document only where asked for."""

    async def lock_base_model(self, name: BaseModelName) -> BaseModel | None:
        """Return a base model and let nobody else change it until the transaction ends."""

    async def set_sources(self, name: BaseModelName, sources: Sequence[str]) -> BaseModel:
        """Replace the sources of a base model that exists."""

    async def list_base_models(self, *, after: str, limit: int, fingerprint_id: str = "") -> Sequence[BaseModel]:
        """Return base models by id, those above `after`; an empty fingerprint id means any."""

    async def keep_base_model(self, name: BaseModelName) -> BaseModel | None:
        """Return a base model and let nobody delete it until the transaction ends."""

    async def keep_base_model_of(self, fingerprint_id: str) -> bool:
        """Say whether a base model has the fingerprint, and let nobody delete it until the transaction ends."""

    async def lock_twins(self, fingerprint_id: str) -> Sequence[BaseModelName]:
        """Name all base models that have the fingerprint; nobody else deletes one, or adds a version on it, meanwhile."""

    async def list_versions_on(self, fingerprint_id: str, limit: int) -> Found[AdapterVersionName]:
        """Name some of the versions on a base, oldest first, of all projects and not revoked."""

    async def delete_base_model(self, name: BaseModelName) -> None:
        """Remove a base model."""

    async def insert_adapter(self, name: AdapterName, display_name: str, description: str) -> Adapter | None:
        """Add an adapter; None where the id is taken."""

    async def find_adapter(self, name: AdapterName) -> Adapter | None:
        """Return an adapter."""

    async def lock_adapter(self, name: AdapterName) -> Adapter | None:
        """Return an adapter and let nobody else change it or what is below it until the transaction ends."""

    async def count_below(self, name: AdapterName) -> tuple[int, int]:
        """Count an adapter's versions and its aliases."""

    async def delete_adapter(self, name: AdapterName) -> None:
        """Remove an adapter with its versions and aliases."""

    async def touch_adapter(self, name: AdapterName) -> None:
        """Give an adapter a new revision and update_time, because something below it changed."""

    async def list_adapters(self, project: str, *, after: str, limit: int) -> Sequence[Adapter]:
        """Return a project's adapters by id, those above `after`."""

    async def insert_version(self, new: NewVersion) -> AdapterVersion:
        """Add a version, PENDING, to an adapter that exists and does not have it."""

    async def find_version(self, name: AdapterVersionName) -> AdapterVersion | None:
        """Return a version with its manifest."""

    async def add_signatures(self, name: AdapterVersionName, signatures: Mapping[str, bytes]) -> AdapterVersion:
        """Add signatures to a version, but none by a key that has signed it already."""

    async def make_ready(self, name: AdapterVersionName) -> AdapterVersion:
        """Make a PENDING version READY."""

    async def revoke(self, name: AdapterVersionName, reason: str) -> AdapterVersion:
        """Withdraw a version that is not withdrawn."""

    async def delete_version(self, name: AdapterVersionName) -> None:
        """Remove a version to which no alias points; that it was revoked is remembered."""

    async def find_used_files(self, project: str, sha256s: Sequence[str]) -> set[str]:
        """Return those of some digests that a version of the project names."""

    async def list_versions(self, adapter: AdapterName, *, before: int, limit: int) -> Sequence[AdapterVersion]:
        """Return an adapter's versions, newest first and without manifests, those with a number below `before`."""

    async def find_alias(self, name: AliasName) -> Alias | None:
        """Return an alias."""

    async def put_alias(self, name: AliasName, version: AdapterVersionName, *, gated: bool, reason: str) -> Alias:
        """Point an alias, new or not, at a READY version of its adapter, and set its gate and the reason kept."""

    async def delete_alias(self, name: AliasName) -> None:
        """Remove an alias, if it is there."""

    async def list_aliases_of(self, version: AdapterVersionName) -> Sequence[Alias]:
        """Return the aliases that point at a version, by id."""

    async def list_aliases(self, adapter: AdapterName, *, after: str, limit: int) -> Sequence[Alias]:
        """Return an adapter's aliases by id, those above `after`."""


class RegistryStore(Protocol):
    """Where the registry keeps everything but artifacts."""

    def transaction(self) -> AbstractAsyncContextManager[RegistryTransaction]:
        """Open a transaction: committed when the block ends, undone when it raises.

        Raises:
            DomainError: DATABASE_UNAVAILABLE; DATABASE_CONFLICT.
        """
