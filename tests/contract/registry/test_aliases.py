import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName
from services.registry import aliases
from services.registry.model import AdapterVersion, etag
from services.registry.pages import PageRequest
from services.registry.store import RegistryStore
from tests.contract.registry.samples import (
    WUKONG,
    add_adapter,
    add_base,
    add_version,
    alias_name,
    get_adapter,
    move,
)

UNKNOWN = AdapterVersionName("default", "wukong", "0" * 64)


@pytest.fixture
async def ready(store: RegistryStore) -> list[AdapterVersion]:
    """Two READY versions of one adapter."""
    await add_base(store)
    await add_adapter(store)
    return [await add_version(store, seed=seed) for seed in range(2)]


async def resolve(store: RegistryStore, name: AdapterName | AdapterVersionName | AliasName) -> AdapterVersion:
    async with store.transaction() as transaction:
        return await aliases.resolve(transaction, name)


async def remove(store: RegistryStore, alias: str, expected: str = "") -> None:
    async with store.transaction() as transaction:
        await aliases.delete(transaction, alias_name(alias), expected=expected)


async def test_an_alias_is_created_moved_and_resolved(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    first = await move(store, "production", ready[0].name)
    assert await resolve(store, alias_name("production")) == ready[0]
    second = await move(store, "production", ready[1].name, etag(first.revision))
    assert second.revision != first.revision
    assert await resolve(store, alias_name("production")) == ready[1]


async def test_an_adapter_stands_for_its_alias_latest(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    with pytest.raises(DomainError) as caught:
        await resolve(store, WUKONG)
    assert caught.value.reason is Reason.ALIAS_NOT_FOUND
    await move(store, "latest", ready[0].name)
    assert await resolve(store, WUKONG) == ready[0]
    assert await resolve(store, ready[1].name) == ready[1]


async def test_moving_it_where_it_points_is_no_move(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    first = await move(store, "latest", ready[0].name)
    adapter = await get_adapter(store)
    assert await move(store, "latest", ready[0].name) == first
    assert await get_adapter(store) == adapter


async def test_a_move_by_an_old_etag_is_refused(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    first = await move(store, "latest", ready[0].name)
    await move(store, "latest", ready[1].name)
    with pytest.raises(DomainError) as caught:
        await move(store, "latest", ready[0].name, etag(first.revision))
    assert caught.value.reason is Reason.ETAG_MISMATCH


async def test_of_many_moves_by_one_etag_one_succeeds(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    first = await move(store, "latest", ready[0].name)
    moves = (move(store, "latest", ready[1].name, etag(first.revision)) for _ in range(6))
    outcomes = await asyncio.gather(*moves, return_exceptions=True)
    refused = [outcome.reason for outcome in outcomes if isinstance(outcome, DomainError)]
    assert refused == [Reason.ETAG_MISMATCH] * 5


async def test_an_etag_never_comes_back(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    first = await move(store, "latest", ready[0].name)
    await remove(store, "latest")
    again = await move(store, "latest", ready[0].name)
    assert etag(again.revision) != etag(first.revision)
    with pytest.raises(DomainError) as caught:
        await remove(store, "latest", etag(first.revision))
    assert caught.value.reason is Reason.ETAG_MISMATCH


async def test_a_removed_alias_is_gone_and_its_version_stays(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    alias = await move(store, "latest", ready[0].name)
    await remove(store, "latest", etag(alias.revision))
    with pytest.raises(DomainError) as caught:
        await remove(store, "latest")
    assert caught.value.reason is Reason.ALIAS_NOT_FOUND
    assert await resolve(store, ready[0].name) == ready[0]
    with pytest.raises(DomainError) as caught:
        await move(store, "latest", ready[0].name, etag(alias.revision))
    assert caught.value.reason is Reason.ETAG_MISMATCH


async def test_without_leave_to_create_an_unknown_alias_is_not_found(
    store: RegistryStore, ready: list[AdapterVersion]
) -> None:
    with pytest.raises(DomainError) as caught:
        await move(store, "latest", ready[0].name, create=False)
    assert caught.value.reason is Reason.ALIAS_NOT_FOUND


async def test_it_points_at_ready_versions_only(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    pending = await add_version(store, seed=9, ready=False)
    for target, reason in (
        (pending.name, Reason.ADAPTER_VERSION_NOT_READY),
        (UNKNOWN, Reason.ADAPTER_VERSION_NOT_FOUND),
        (AdapterVersionName("default", "bajie", ready[0].name.version), Reason.INVALID_ARGUMENT),
    ):
        with pytest.raises(DomainError) as caught:
            await move(store, "latest", target)
        assert caught.value.reason is reason
    with pytest.raises(DomainError) as caught:
        await resolve(store, pending.name)
    assert caught.value.reason is Reason.ADAPTER_VERSION_NOT_READY


async def test_what_is_not_there_is_not_found(store: RegistryStore) -> None:
    for name in (WUKONG, alias_name("latest"), UNKNOWN):
        with pytest.raises(DomainError) as caught:
            await resolve(store, name)
        assert caught.value.reason is Reason.ADAPTER_NOT_FOUND
    with pytest.raises(DomainError) as caught:
        await move(store, "latest", UNKNOWN)
    assert caught.value.reason is Reason.ADAPTER_NOT_FOUND
    with pytest.raises(DomainError) as caught:
        await remove(store, "latest")
    assert caught.value.reason is Reason.ALIAS_NOT_FOUND
    await add_adapter(store)
    with pytest.raises(DomainError) as caught:
        await resolve(store, UNKNOWN)
    assert caught.value.reason is Reason.ADAPTER_VERSION_NOT_FOUND


async def test_they_are_listed_by_id(store: RegistryStore, ready: list[AdapterVersion]) -> None:
    made = [await move(store, alias, ready[0].name) for alias in ("a", "b", "c")]
    async with store.transaction() as transaction:
        first = await aliases.list_page(transaction, WUKONG, PageRequest(2, ""))
        second = await aliases.list_page(transaction, WUKONG, PageRequest(2, first.next_token))
    assert [*first.items, *second.items] == made
    assert second.next_token == ""


async def test_aliases_of_no_adapter_are_not_found(store: RegistryStore) -> None:
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await aliases.list_page(transaction, WUKONG, PageRequest(0, ""))
    assert caught.value.reason is Reason.ADAPTER_NOT_FOUND
