"""Adapters: named lines of versions."""

from collections.abc import Sequence

from services.common.resource_names import AdapterName, ProjectName
from services.registry import failures
from services.registry.dependants import NAMED, Dependants, require_none
from services.registry.model import NEWEST, Adapter, Found, etag
from services.registry.pages import Page, PageRequest, read_page
from services.registry.store import RegistryTransaction
from services.registry.texts import MAX_DESCRIPTION, MAX_DISPLAY_NAME, check_text


async def create(transaction: RegistryTransaction, name: AdapterName, display_name: str, description: str) -> Adapter:
    """Create an adapter without versions.

    Raises:
        DomainError: ADAPTER_EXISTS; INVALID_ARGUMENT: a text is too long.
    """
    created = await transaction.insert_adapter(
        name,
        check_text(display_name, "adapter.display_name", MAX_DISPLAY_NAME),
        check_text(description, "adapter.description", MAX_DESCRIPTION),
    )
    if created is None:
        raise failures.adapter_exists(name)
    return created


async def get(transaction: RegistryTransaction, name: AdapterName) -> Adapter:
    """Return an adapter.

    Raises:
        DomainError: ADAPTER_NOT_FOUND.
    """
    found = await transaction.find_adapter(name)
    if found is None:
        raise failures.adapter_not_found(name)
    return found


async def lock(transaction: RegistryTransaction, name: AdapterName) -> Adapter:
    """Return an adapter that is about to change, itself or below it.

    Raises:
        DomainError: ADAPTER_NOT_FOUND.
    """
    found = await transaction.lock_adapter(name)
    if found is None:
        raise failures.adapter_not_found(name)
    return found


async def delete(transaction: RegistryTransaction, name: AdapterName, *, expected: str, force: bool) -> None:
    """Remove an adapter, and with ``force`` its versions and aliases.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ETAG_MISMATCH; RESOURCE_IN_USE.
    """
    adapter = await lock(transaction, name)
    failures.check_etag(name, expected, etag(adapter.revision))
    if not force:
        remedy = "Delete them first, or all together with `force`."
        require_none(str(name), await _below(transaction, name), remedy)
    await transaction.delete_adapter(name)


async def _below(transaction: RegistryTransaction, name: AdapterName) -> Sequence[Dependants]:
    version_count, alias_count = await transaction.count_below(name)
    versions = await transaction.list_versions(name, before=NEWEST, limit=NAMED)
    aliases = await transaction.list_aliases(name, after="", limit=NAMED)
    return (
        Dependants(("version", "versions"), Found([str(version.name) for version in versions], version_count)),
        Dependants(("alias", "aliases"), Found([str(alias.name) for alias in aliases], alias_count)),
    )


async def list_page(transaction: RegistryTransaction, parent: ProjectName, page: PageRequest) -> Page[Adapter]:
    """List a project's adapters by id.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """

    async def fetch(after: str, limit: int) -> Sequence[Adapter]:
        return await transaction.list_adapters(parent.project, after=after, limit=limit)

    return await read_page(page, f"{parent}/adapters", fetch, lambda item: item.name.adapter)
