import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import BaseModelName
from services.registry import base_models
from services.registry.pages import PageRequest
from services.registry.store import RegistryStore
from tests.contract.registry.samples import add_base
from tests.support.registry import fingerprint


async def ids(store: RegistryStore, size: int = 50, fingerprint_id: str = "") -> list[list[str]]:
    pages: list[list[str]] = []
    token = ""
    while not pages or token:
        async with store.transaction() as transaction:
            page = await base_models.list_page(transaction, PageRequest(size, token), fingerprint_id)
        pages.append([item.name.base_model for item in page.items])
        token = page.next_token
    return pages


async def test_it_is_found_as_it_was_registered(store: RegistryStore) -> None:
    created = await add_base(store)
    async with store.transaction() as transaction:
        found = await base_models.get(transaction, BaseModelName("tiny"))
        full = await base_models.get(transaction, BaseModelName("tiny"), document=True)
    assert found == created
    assert found.document == b""
    assert found.fingerprint.summary() == fingerprint().summary()
    assert full.document == fingerprint().to_document()
    assert created.create_time == created.update_time


async def test_one_that_nobody_registered_is_not_found(store: RegistryStore) -> None:
    with pytest.raises(DomainError, match="baseModels/none") as caught:
        async with store.transaction() as transaction:
            await base_models.get(transaction, BaseModelName("none"))
    assert caught.value.reason is Reason.BASE_MODEL_NOT_FOUND


async def test_the_same_base_again_changes_nothing(store: RegistryStore) -> None:
    assert await add_base(store) == await add_base(store)


async def test_the_same_base_with_another_source_gets_it_too(store: RegistryStore) -> None:
    first = await add_base(store)
    second = await add_base(store, sources=("s3://models/tiny", "file:///models/tiny"))
    assert second.sources == ("file:///models/tiny", "s3://models/tiny")
    assert second.revision != first.revision
    assert second.update_time >= first.update_time


async def test_other_bytes_under_the_same_id_are_refused(store: RegistryStore) -> None:
    await add_base(store)
    with pytest.raises(DomainError) as caught:
        await add_base(store, base=fingerprint("other weights"))
    assert caught.value.reason is Reason.BASE_MODEL_EXISTS
    assert caught.value.metadata["expected_id"] == fingerprint().id


async def test_sources_are_bounded(store: RegistryStore) -> None:
    await add_base(store, sources=tuple(f"file:///models/{n}" for n in range(20)))
    with pytest.raises(DomainError, match="would have 40 sources") as caught:
        await add_base(store, sources=tuple(f"file:///mirror/{n}" for n in range(20)))
    assert caught.value.reason is Reason.INVALID_ARGUMENT


async def test_many_at_once_add_their_sources_to_one(store: RegistryStore) -> None:
    sources = [f"file:///models/{n}" for n in range(6)]
    await asyncio.gather(*(add_base(store, sources=(source,)) for source in sources))
    assert sorted((await add_base(store, sources=(sources[0],))).sources) == sources


async def test_they_are_listed_by_id_page_by_page(store: RegistryStore) -> None:
    # Byte order, not a locale's: '-' before '.' before digits before '_' before letters.
    for base_model_id in ("ab", "a-b", "a_b", "a.b", "a1b"):
        await add_base(store, base_model_id)
    assert await ids(store, 2) == [["a-b", "a.b"], ["a1b", "a_b"], ["ab"]]
    assert await ids(store, 5) == [["a-b", "a.b", "a1b", "a_b", "ab"]]


async def test_they_are_listed_by_fingerprint(store: RegistryStore) -> None:
    other = fingerprint("other weights")
    for base_model_id, base in (("a", None), ("b", other), ("c", None)):
        await add_base(store, base_model_id, base)
    assert await ids(store, 1, fingerprint().id) == [["a"], ["c"]]
    assert await ids(store, 1, other.id) == [["b"]]
    assert await ids(store, 1, "0" * 64) == [[]]


async def test_a_token_of_another_list_and_a_made_up_filter_are_refused(store: RegistryStore) -> None:
    for base_model_id in "ab":
        await add_base(store, base_model_id)
    async with store.transaction() as transaction:
        page = await base_models.list_page(transaction, PageRequest(1, ""), "")
        for request, fingerprint_id in (
            (PageRequest(1, page.next_token), fingerprint().id),
            (PageRequest(1, ""), "x\0"),
        ):
            with pytest.raises(DomainError) as caught:
                await base_models.list_page(transaction, request, fingerprint_id)
            assert caught.value.reason is Reason.INVALID_ARGUMENT
