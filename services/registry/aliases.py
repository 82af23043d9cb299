"""Aliases: names that point at READY versions, moved only as their etag allows."""

import asyncio
from collections.abc import Sequence
from typing import Final

from services.common.resource_names import AdapterName, AdapterVersionName, AliasName
from services.registry import adapters, failures, versions
from services.registry.gate import Passage, passed
from services.registry.model import AdapterVersion, Alias, etag
from services.registry.pages import Page, PageRequest, read_page
from services.registry.store import RegistryTransaction

LATEST: Final = "latest"
"""The alias that an adapter's own name stands for."""


async def move(
    transaction: RegistryTransaction,
    name: AliasName,
    target: AdapterVersionName,
    *,
    expected: str,
    create: bool,
    passage: Passage = Passage(),  # noqa: B008  # frozen
) -> Alias:
    """Point an alias at a version, set its gate, or both; an alias that is so already stays as it is.

    Args:
        transaction: of the registry.
        name: the alias.
        target: a READY version of the same adapter.
        expected: the etag that the alias must have; empty for any.
        create: make the alias where there is none.
        passage: what is asked of its gate.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ALIAS_NOT_FOUND; ADAPTER_VERSION_NOT_READY;
            ADAPTER_VERSION_REVOKED; ETAG_MISMATCH; VERDICT_NOT_ADMITTED: a gate is in the way; INVALID_ARGUMENT: the
            version is another adapter's, or the reason is no line.
    """
    adapter = AdapterName(name.project, name.adapter)
    if AdapterName(target.project, target.adapter) != adapter:
        raise failures.invalid("alias.version", f"{target} is not a version of {adapter}, so its alias cannot name it.")
    await adapters.lock(transaction, adapter)
    version = await versions.get_ready(transaction, target)
    current = await transaction.find_alias(name)
    if current is None and not create:
        raise failures.alias_not_found(name)
    failures.check_etag(name, expected, etag(current.revision) if current else None)
    # A megabyte of JSON may have to be read.
    gated, reason = await asyncio.to_thread(passed, name, current, version, passage)
    if current is not None and (current.version, current.gated, current.reason) == (target, gated, reason):
        return current
    moved = await transaction.put_alias(name, target, gated=gated, reason=reason)
    await transaction.touch_adapter(adapter)
    return moved


async def set_gate(transaction: RegistryTransaction, name: AliasName, *, expected: str, passage: Passage) -> Alias:
    """Gate an alias where it points, or take its gate away.

    Raises:
        DomainError: ALIAS_NOT_FOUND, and as ``move``.
    """
    await adapters.lock(transaction, AdapterName(name.project, name.adapter))
    current = await transaction.find_alias(name)
    if current is None:
        raise failures.alias_not_found(name)
    return await move(transaction, name, current.version, expected=expected, create=False, passage=passage)


async def delete(transaction: RegistryTransaction, name: AliasName, *, expected: str) -> None:
    """Remove an alias; its version stays.

    Raises:
        DomainError: ALIAS_NOT_FOUND; ETAG_MISMATCH.
    """
    adapter = AdapterName(name.project, name.adapter)
    await transaction.lock_adapter(adapter)
    current = await transaction.find_alias(name)
    if current is None:
        raise failures.alias_not_found(name)
    failures.check_etag(name, expected, etag(current.revision))
    await transaction.delete_alias(name)
    await transaction.touch_adapter(adapter)


async def list_page(transaction: RegistryTransaction, parent: AdapterName, page: PageRequest) -> Page[Alias]:
    """List an adapter's aliases by id.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; INVALID_ARGUMENT.
    """
    await adapters.get(transaction, parent)

    async def fetch(after: str, limit: int) -> Sequence[Alias]:
        return await transaction.list_aliases(parent, after=after, limit=limit)

    return await read_page(page, f"{parent}/aliases", fetch, lambda item: item.name.alias)


async def resolve(
    transaction: RegistryTransaction, name: AdapterName | AdapterVersionName | AliasName
) -> AdapterVersion:
    """Find the READY version behind an adapter (its alias `latest`), an alias or a version.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ALIAS_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_NOT_READY;
            ADAPTER_VERSION_REVOKED.
    """
    if isinstance(name, AdapterVersionName):
        return await versions.get_ready(transaction, name)
    alias = name if isinstance(name, AliasName) else AliasName(name.project, name.adapter, LATEST)
    await adapters.get(transaction, AdapterName(alias.project, alias.adapter))
    found = await transaction.find_alias(alias)
    if found is None:
        raise failures.alias_not_found(alias)
    return await versions.get_ready(transaction, found.version)
