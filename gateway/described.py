"""Adapters with what answers for them: the registry keeps that apart from the adapter itself."""

import asyncio
from collections.abc import Iterable
from typing import Final

from gateway.mapping.adapters import adapter_object
from gateway.routes.common import every_item
from gateway.schemas.adapters import Adapter
from gateway.services import Services
from services.common.errors import DomainError, Reason
from tenon.registry.v1 import adapter_pb2

_AT_ONCE: Final = 16
"""Adapters of a list that are looked up at the same time."""


async def describe(services: Services, adapter: adapter_pb2.Adapter) -> Adapter:
    """Add an adapter's latest version and aliases."""
    latest, aliases = await asyncio.gather(_latest(services, adapter.name), _aliases(services, adapter.name))
    return adapter_object(adapter, latest, aliases)


async def describe_all(services: Services, adapters: Iterable[adapter_pb2.Adapter]) -> list[Adapter]:
    """Add the same to each of a list."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def describe_in_turn(adapter: adapter_pb2.Adapter) -> Adapter:
        async with turn:
            return await describe(services, adapter)

    return await asyncio.gather(*map(describe_in_turn, adapters))


async def _latest(services: Services, name: str) -> adapter_pb2.AdapterVersion | None:
    try:
        answer = await services.adapters.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=name))
    except DomainError as error:
        match error.reason:
            case Reason.ALIAS_NOT_FOUND:
                return None
            case Reason.ADAPTER_VERSION_REVOKED:
                # It answers no more, and that is what there is to say of the adapter.
                request = adapter_pb2.GetAdapterVersionRequest(name=error.metadata["adapter_version"])
                return (await services.adapters.GetAdapterVersion(request)).adapter_version
        raise
    return answer.adapter_version


async def _aliases(services: Services, name: str) -> list[adapter_pb2.Alias]:
    async def fetch(size: int, token: str) -> tuple[list[adapter_pb2.Alias], str]:
        request = adapter_pb2.ListAliasesRequest(parent=name, page_size=size, page_token=token)
        page = await services.adapters.ListAliases(request)
        return list(page.aliases), page.next_page_token

    return await every_item(fetch)
