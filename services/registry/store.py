"""What the registry asks of its storage."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from services.common.idempotency import RequestLog
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, NewBaseModel, NewVersion


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

    async def insert_adapter(self, name: AdapterName, display_name: str, description: str) -> Adapter | None:
        """Add an adapter; None where the id is taken."""

    async def find_adapter(self, name: AdapterName) -> Adapter | None:
        """Return an adapter."""

    async def lock_adapter(self, name: AdapterName) -> Adapter | None:
        """Return an adapter and let nobody else change it or what is below it until the transaction ends."""

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

    async def list_versions(self, adapter: AdapterName, *, before: int, limit: int) -> Sequence[AdapterVersion]:
        """Return an adapter's versions, newest first and without manifests, those with a number below `before`."""

    async def find_alias(self, name: AliasName) -> Alias | None:
        """Return an alias."""

    async def put_alias(self, name: AliasName, version: AdapterVersionName, *, gated: bool, reason: str) -> Alias:
        """Point an alias, new or not, at a READY version of its adapter, and set its gate and the reason kept."""

    async def delete_alias(self, name: AliasName) -> None:
        """Remove an alias, if it is there."""

    async def list_aliases(self, adapter: AdapterName, *, after: str, limit: int) -> Sequence[Alias]:
        """Return an adapter's aliases by id, those above `after`."""


class RegistryStore(Protocol):
    """Where the registry keeps everything but artifacts."""

    def transaction(self) -> AbstractAsyncContextManager[RegistryTransaction]:
        """Open a transaction: committed when the block ends, undone when it raises.

        Raises:
            DomainError: DATABASE_UNAVAILABLE; DATABASE_CONFLICT.
        """
