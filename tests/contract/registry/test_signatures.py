"""Whose signatures a version needs, keeps and gets."""

import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.common.manifest import Provenance
from services.common.resource_names import AdapterVersionName
from services.common.signing import sign
from services.registry import convert, versions
from services.registry.model import AdapterVersion, NewVersion
from services.registry.pages import PageRequest
from services.registry.store import RegistryStore
from tests.contract.registry.samples import WUKONG, add_adapter, add_base, add_version, get_adapter, read
from tests.support.keys import STRANGERS_KEY, TEST_KEY, TEST_TRUST, signed
from tests.support.registry import manifest

SAMPLE = manifest()
ENVELOPES = {
    "none": (b"", Reason.SIGNATURE_MISSING),
    "no envelope": (b"{}", Reason.SIGNATURE_INVALID),
    "of another manifest": (signed(manifest(seed=1)), Reason.SIGNATURE_INVALID),
    "by a stranger": (signed(SAMPLE, STRANGERS_KEY), Reason.SIGNATURE_UNTRUSTED),
}


async def create(store: RegistryStore, new: NewVersion) -> AdapterVersion:
    async with store.transaction() as transaction:
        return await versions.create(transaction, new)


@pytest.fixture
async def store(store: RegistryStore) -> RegistryStore:
    """A store with a base and an adapter."""
    await add_base(store)
    await add_adapter(store)
    return store


@pytest.mark.parametrize("kind", ENVELOPES)
async def test_a_manifest_that_no_trusted_key_signed_is_refused(kind: str) -> None:
    envelope, reason = ENVELOPES[kind]
    with pytest.raises(DomainError) as caught:
        await versions.read_manifest(WUKONG, SAMPLE.to_bytes(), envelope, TEST_TRUST)
    assert caught.value.reason is reason


async def test_the_envelope_that_is_given_out_is_the_one_that_came(store: RegistryStore) -> None:
    version = await create(store, await read(SAMPLE))
    message = convert.version(version)
    assert message.envelope == signed(SAMPLE)
    assert list(message.signer_key_ids) == [TEST_KEY.public.key_id]


async def test_signatures_of_strangers_are_not_kept(store: RegistryStore) -> None:
    envelope = sign(SAMPLE.to_bytes(), TEST_KEY, STRANGERS_KEY).to_bytes()
    new = await versions.read_manifest(WUKONG, SAMPLE.to_bytes(), envelope, TEST_TRUST)
    assert (await create(store, new)).signatures.keys() == {TEST_KEY.public.key_id}


async def test_another_trusted_signature_is_added_and_the_version_stays(store: RegistryStore) -> None:
    first = await add_version(store)
    adapter = await get_adapter(store)
    both = await create(store, await read(SAMPLE, key=STRANGERS_KEY))
    assert list(both.signatures) == [STRANGERS_KEY.public.key_id, TEST_KEY.public.key_id]
    assert (both.name, both.number, both.ready_time) == (first.name, first.number, first.ready_time)
    after = await get_adapter(store)
    assert after.revision != adapter.revision
    assert await create(store, await read(SAMPLE)) == both
    assert await get_adapter(store) == after
    assert convert.version(both).envelope == sign(SAMPLE.to_bytes(), TEST_KEY, STRANGERS_KEY).to_bytes()


async def test_signatures_that_come_at_the_same_time_are_all_kept(store: RegistryStore) -> None:
    news = [await read(SAMPLE, key=key) for key in (TEST_KEY, STRANGERS_KEY) * 3]
    await asyncio.gather(*(create(store, new) for new in news))
    async with store.transaction() as transaction:
        version = await versions.get(transaction, news[0].name)
    assert version.signatures.keys() == {TEST_KEY.public.key_id, STRANGERS_KEY.public.key_id}


async def test_lists_say_who_signed_and_where_it_comes_from(store: RegistryStore) -> None:
    declared = manifest(provenance=Provenance.DECLARED)
    await create(store, await read(declared))
    async with store.transaction() as transaction:
        page = await versions.list_page(transaction, WUKONG, PageRequest(0, ""))
        whole = await versions.get(transaction, AdapterVersionName("default", "wukong", declared.digest))
    (listed,) = page.items
    assert listed.provenance is whole.provenance is Provenance.DECLARED
    message = convert.version(listed)
    assert list(message.signer_key_ids) == [TEST_KEY.public.key_id]
    assert (message.envelope, message.manifest) == (b"", b"")
