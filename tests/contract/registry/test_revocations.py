"""Versions that are withdrawn: listed for ever, and never used again."""

import asyncio
from collections.abc import Awaitable

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName
from services.registry import aliases, versions
from services.registry.model import AdapterVersion, NewVersion, VersionState
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
    read,
    revoke,
)
from tests.support.keys import STRANGERS_KEY
from tests.support.registry import manifest

UNKNOWN = AdapterVersionName("default", "wukong", "0" * 64)


@pytest.fixture
async def ready(store: RegistryStore) -> AdapterVersion:
    """A READY version, to which `latest` points."""
    await add_base(store)
    await add_adapter(store)
    version = await add_version(store)
    await move(store, "latest", version.name)
    return version


async def resolve(store: RegistryStore, name: AdapterName | AdapterVersionName | AliasName) -> AdapterVersion:
    async with store.transaction() as transaction:
        return await aliases.resolve(transaction, name)


async def create(store: RegistryStore, new: NewVersion) -> AdapterVersion:
    async with store.transaction() as transaction:
        return await versions.create(transaction, new)


async def make_ready(store: RegistryStore, name: AdapterVersionName) -> AdapterVersion:
    async with store.transaction() as transaction:
        return await versions.make_ready(transaction, name)


async def failure(call: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await call
    return caught.value


async def test_it_is_shown_with_time_and_reason(store: RegistryStore, ready: AdapterVersion) -> None:
    before = await get_adapter(store)
    revoked = await revoke(store, ready.name, " it swears ")
    assert revoked.state is VersionState.REVOKED
    assert revoked.revoke_reason == "it swears"
    assert revoked.revoke_time is not None
    assert revoked.revoke_time >= ready.create_time
    assert revoked.ready_time == ready.ready_time
    async with store.transaction() as transaction:
        assert await versions.get(transaction, ready.name) == revoked
        (listed,) = (await versions.list_page(transaction, WUKONG, PageRequest(0, ""))).items
    assert (listed.state, listed.revoke_reason) == (VersionState.REVOKED, "it swears")
    assert (await get_adapter(store)).revision != before.revision


async def test_nothing_resolves_to_it(store: RegistryStore, ready: AdapterVersion) -> None:
    revoked = await revoke(store, ready.name, "It swears.")
    assert revoked.revoke_time is not None
    for name in (WUKONG, alias_name("latest"), ready.name):
        error = await failure(resolve(store, name))
        assert error.reason is Reason.ADAPTER_VERSION_REVOKED
        assert error.metadata == {"adapter_version": str(ready.name)}
        for told in (
            ready.name.version[:12],
            "wukong",
            f"{revoked.revoke_time:%Y-%m-%d}",
            ": It swears. ",
            "tenon adapter alias",
        ):
            assert told in error.message


async def test_another_version_answers_once_the_alias_is_moved(store: RegistryStore, ready: AdapterVersion) -> None:
    other = await add_version(store, seed=1)
    await revoke(store, ready.name)
    await move(store, "latest", other.name)
    assert await resolve(store, WUKONG) == other


async def test_no_alias_is_moved_onto_it(store: RegistryStore, ready: AdapterVersion) -> None:
    await revoke(store, ready.name)
    for alias in ("latest", "production"):
        assert (await failure(move(store, alias, ready.name))).reason is Reason.ADAPTER_VERSION_REVOKED


async def test_the_same_manifest_again_does_not_bring_it_back(
    store: RegistryStore, ready: AdapterVersion, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await revoke(store, ready.name)
    assert (await failure(create(store, await read(manifest())))).reason is Reason.ADAPTER_VERSION_REVOKED
    assert (await failure(make_ready(store, ready.name))).reason is Reason.ADAPTER_VERSION_REVOKED
    artifacts = FileSystemStore.open(tmp_path_factory.mktemp("artifacts"))
    error = await failure(versions.check_files(store, artifacts, ready.name))
    assert error.reason is Reason.ADAPTER_VERSION_REVOKED


async def test_a_signature_does_not_bring_it_back(store: RegistryStore, ready: AdapterVersion) -> None:
    revoked = await revoke(store, ready.name)
    again = await read(manifest(), key=STRANGERS_KEY)
    assert (await failure(create(store, again))).reason is Reason.ADAPTER_VERSION_REVOKED
    async with store.transaction() as transaction:
        assert await versions.get(transaction, ready.name) == revoked


async def test_it_is_withdrawn_under_every_name_in_its_project(store: RegistryStore, ready: AdapterVersion) -> None:
    twin, later = (AdapterName("default", name) for name in ("twin", "later"))
    for adapter in (twin, later):
        await add_adapter(store, adapter)
    held = await create(store, await read(manifest(), twin))
    await revoke(store, ready.name)
    async with store.transaction() as transaction:
        found = await versions.get(transaction, held.name)
    assert found.state is VersionState.REVOKED
    assert found.revoke_reason
    new = await read(manifest(), later)
    assert (await failure(create(store, new))).reason is Reason.ADAPTER_VERSION_REVOKED
    async with store.transaction() as transaction:
        assert not (await versions.list_page(transaction, later, PageRequest(0, ""))).items


async def test_a_pending_version_never_becomes_ready(store: RegistryStore, ready: AdapterVersion) -> None:
    pending = await add_version(store, seed=1, ready=False)
    assert (await revoke(store, pending.name)).state is VersionState.REVOKED
    assert (await failure(make_ready(store, pending.name))).reason is Reason.ADAPTER_VERSION_REVOKED
    assert await resolve(store, WUKONG) == ready


async def test_the_first_reason_stays(store: RegistryStore, ready: AdapterVersion) -> None:
    first = await revoke(store, ready.name, "it swears")
    adapter = await get_adapter(store)
    assert await revoke(store, ready.name, "it lies") == first
    assert await get_adapter(store) == adapter


async def test_of_many_at_once_one_reason_stays(store: RegistryStore, ready: AdapterVersion) -> None:
    outcomes = await asyncio.gather(*(revoke(store, ready.name, f"reason {n}") for n in range(6)))
    assert outcomes == [outcomes[0]] * 6


async def test_it_wins_over_what_happens_at_the_same_time(store: RegistryStore, ready: AdapterVersion) -> None:
    pending = await add_version(store, seed=1, ready=False)
    await asyncio.gather(
        *(make_ready(store, pending.name) for _ in range(3)),
        *(move(store, f"a{n}", ready.name) for n in range(3)),
        revoke(store, pending.name),
        revoke(store, ready.name),
        return_exceptions=True,
    )
    for name in (pending.name, ready.name):
        assert (await failure(resolve(store, name))).reason is Reason.ADAPTER_VERSION_REVOKED
    for alias in ("latest", "a9"):
        assert (await failure(move(store, alias, ready.name))).reason is Reason.ADAPTER_VERSION_REVOKED


@pytest.mark.parametrize(
    "reason",
    ["", "  ", "x" * 1001, "a\0b", "two\nlines", "\x1b[31mred", "a\u2028b"],
    ids=["empty", "blank", "long", "nul", "lines", "escape", "separator"],
)
async def test_the_reason_is_a_line_for_people(store: RegistryStore, ready: AdapterVersion, reason: str) -> None:
    error = await failure(revoke(store, ready.name, reason))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["reason"]
    assert await resolve(store, WUKONG) == ready


async def test_a_long_reason_in_any_script_is_kept(store: RegistryStore, ready: AdapterVersion) -> None:
    assert (await revoke(store, ready.name, "猴" * 1000)).revoke_reason == "猴" * 1000


async def test_what_is_not_there_is_not_found(store: RegistryStore) -> None:
    assert (await failure(revoke(store, UNKNOWN))).reason is Reason.ADAPTER_NOT_FOUND
    await add_adapter(store)
    assert (await failure(revoke(store, UNKNOWN))).reason is Reason.ADAPTER_VERSION_NOT_FOUND
