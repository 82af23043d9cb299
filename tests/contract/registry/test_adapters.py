import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.common.paging import encode_page_token
from services.common.resource_names import AdapterName, ProjectName
from services.registry import adapters
from services.registry.pages import PageRequest
from services.registry.store import RegistryStore
from tests.contract.registry.samples import WUKONG, add_adapter, get_adapter

DEFAULT = ProjectName("default")


async def test_it_is_found_as_it_was_created(store: RegistryStore) -> None:
    assert await add_adapter(store) == await get_adapter(store)


async def test_an_id_is_taken_once_a_project(store: RegistryStore) -> None:
    await add_adapter(store)
    with pytest.raises(DomainError) as caught:
        await add_adapter(store)
    assert caught.value.reason is Reason.ADAPTER_EXISTS
    await add_adapter(store, AdapterName("other", "wukong"))


async def test_of_many_at_once_one_gets_the_id(store: RegistryStore) -> None:
    outcomes = await asyncio.gather(*(add_adapter(store) for _ in range(8)), return_exceptions=True)
    lost = [outcome.reason for outcome in outcomes if isinstance(outcome, DomainError)]
    assert lost == [Reason.ADAPTER_EXISTS] * 7


async def test_another_project_has_another_adapter_of_that_name(store: RegistryStore) -> None:
    await add_adapter(store)
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await adapters.get(transaction, AdapterName("other", "wukong"))
    assert caught.value.reason is Reason.ADAPTER_NOT_FOUND


async def test_a_transaction_that_fails_leaves_nothing(store: RegistryStore) -> None:
    async def fail() -> None:
        async with store.transaction() as transaction:
            await adapters.create(transaction, WUKONG, "", "")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    with pytest.raises(DomainError):
        await get_adapter(store)


async def test_pages_are_stable_while_others_are_created(store: RegistryStore) -> None:
    for adapter in "bdfh":
        await add_adapter(store, AdapterName("default", adapter))
    seen, token = [], ""
    # After the first page one comes behind the reader and one ahead of it.
    for created in (("a", "e"), (), ()):
        async with store.transaction() as transaction:
            page = await adapters.list_page(transaction, DEFAULT, PageRequest(2, token))
        seen += [item.name.adapter for item in page.items]
        token = page.next_token
        for adapter in created:
            await add_adapter(store, AdapterName("default", adapter))
    assert (seen, token) == (["b", "d", "e", "f", "h"], "")


async def test_a_project_lists_its_own(store: RegistryStore) -> None:
    await add_adapter(store, AdapterName("other", "x"))
    async with store.transaction() as transaction:
        page = await adapters.list_page(transaction, DEFAULT, PageRequest(0, ""))
    assert (list(page.items), page.next_token) == ([], "")


@pytest.mark.parametrize("request_", [PageRequest(-1, ""), PageRequest(1, "x"), PageRequest(1, "e30")])
async def test_a_wrong_page_is_refused(store: RegistryStore, request_: PageRequest) -> None:
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await adapters.list_page(transaction, DEFAULT, request_)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


async def test_a_token_made_up_by_a_caller_who_knows_how_is_refused(store: RegistryStore) -> None:
    forged = encode_page_token("a\0b", "projects/default/adapters")
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await adapters.list_page(transaction, DEFAULT, PageRequest(1, forged))
    assert caught.value.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize(("display_name", "description"), [("x" * 257, ""), ("", "x" * 8193), ("a\0b", "")])
async def test_texts_have_limits(store: RegistryStore, display_name: str, description: str) -> None:
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await adapters.create(transaction, WUKONG, display_name, description)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
