"""What is deleted, what keeps it from that, and what is remembered of it."""

import asyncio
from collections.abc import Awaitable, Sequence

import psycopg
import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, ProjectName
from services.registry import adapters, base_models, versions
from services.registry.dependants import Dependants, NoTrainer, ProjectContents, TrainerDependants
from services.registry.model import AdapterVersion, BaseModel, Found, etag
from services.registry.store import RegistryStore
from tests.contract.registry.samples import (
    WUKONG,
    add_adapter,
    add_base,
    add_version,
    get_adapter,
    move,
    read,
    revoke,
)
from tests.support.keys import STRANGERS_KEY
from tests.support.registry import manifest

TINY = BaseModelName("tiny")


class BusyTrainer(NoTrainer):
    """A trainer with a job on every base."""

    async def on_base(self, base_model: BaseModelName) -> Sequence[Dependants]:
        return (Dependants(("training job", "training jobs"), Found(["projects/default/trainingJobs/j1"], 1)),)


@pytest.fixture
async def version(store: RegistryStore) -> AdapterVersion:
    """A READY version to which no alias points."""
    await add_base(store)
    await add_adapter(store)
    return await add_version(store)


async def delete_version(store: RegistryStore, name: AdapterVersionName) -> None:
    async with store.transaction() as transaction:
        await versions.delete(transaction, name)


async def delete_adapter(
    store: RegistryStore, name: AdapterName = WUKONG, expected: str = "", *, force: bool = False
) -> None:
    async with store.transaction() as transaction:
        await adapters.delete(transaction, name, expected=expected, force=force)


async def delete_base(
    store: RegistryStore, name: BaseModelName = TINY, expected: str = "", trainer: TrainerDependants | None = None
) -> None:
    async with store.transaction() as transaction:
        await base_models.delete(transaction, name, expected=expected, trainer=trainer or NoTrainer())


async def failure(call: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await call
    return caught.value


async def test_a_base_that_is_being_deleted_can_be_registered(
    store: RegistryStore, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        pytest.skip("in memory transactions take turns")
    adding: list[asyncio.Task[BaseModel]] = []

    class SlowTrainer(NoTrainer):
        async def on_base(self, base_model: BaseModelName) -> Sequence[Dependants]:
            adding.append(asyncio.create_task(add_base(store)))
            await asyncio.sleep(0.2)
            return await super().on_base(base_model)

    before = await add_base(store)
    await delete_base(store, trainer=SlowTrainer())
    assert (await adding[0]).revision != before.revision


async def test_a_version_goes_and_can_be_made_again(store: RegistryStore, version: AdapterVersion) -> None:
    before = await get_adapter(store)
    await delete_version(store, version.name)
    assert (await get_adapter(store)).revision != before.revision
    assert (await failure(delete_version(store, version.name))).reason is Reason.ADAPTER_VERSION_NOT_FOUND
    again = await add_version(store)
    assert again.name == version.name
    assert again.number > version.number


async def test_a_version_to_which_aliases_point_stays(store: RegistryStore, version: AdapterVersion) -> None:
    for alias in ("production", "latest"):
        await move(store, alias, version.name)
    error = await failure(delete_version(store, version.name))
    assert error.reason is Reason.RESOURCE_IN_USE
    names = [f"{WUKONG}/aliases/latest", f"{WUKONG}/aliases/production"]
    assert error.metadata == {"resource": str(version.name), "dependants": ",".join(names), "count": "2"}
    assert f"needed by 2 aliases ({', '.join(names)}). Point them" in error.message


async def test_a_revoked_version_that_is_deleted_does_not_come_back(
    store: RegistryStore, version: AdapterVersion
) -> None:
    await revoke(store, version.name)
    await delete_version(store, version.name)
    error = await failure(add_version(store))
    assert error.reason is Reason.ADAPTER_VERSION_REVOKED
    assert "it swears" in error.message


async def test_an_adapter_with_versions_goes_only_by_force(store: RegistryStore, version: AdapterVersion) -> None:
    await move(store, "latest", version.name)
    error = await failure(delete_adapter(store))
    assert error.reason is Reason.RESOURCE_IN_USE
    assert error.metadata["dependants"] == f"{version.name},{WUKONG}/aliases/latest"
    await delete_adapter(store, force=True)
    assert (await failure(get_adapter(store))).reason is Reason.ADAPTER_NOT_FOUND
    await add_adapter(store)
    async with store.transaction() as transaction:
        assert await transaction.count_below(WUKONG) == (0, 0)
    await delete_adapter(store)


async def test_of_many_dependants_the_first_are_named(store: RegistryStore, version: AdapterVersion) -> None:
    for seed in range(1, 12):
        await add_version(store, seed=seed, ready=False)
    error = await failure(delete_adapter(store))
    assert error.metadata["count"] == "12"
    assert len(error.metadata["dependants"].split(",")) == 10
    assert "12 versions (" in error.message
    assert ", …)" in error.message


async def test_what_changed_since_it_was_read_stays(store: RegistryStore, version: AdapterVersion) -> None:
    read_adapter = await get_adapter(store)
    await add_version(store, seed=1)
    error = await failure(delete_adapter(store, expected=etag(read_adapter.revision), force=True))
    assert (error.reason, error.metadata) == (Reason.ETAG_MISMATCH, {"adapter": str(WUKONG)})
    await delete_adapter(store, expected=etag((await get_adapter(store)).revision), force=True)
    assert (await failure(delete_base(store, expected="W/old"))).reason is Reason.ETAG_MISMATCH


async def test_a_base_on_which_versions_can_answer_stays(store: RegistryStore, version: AdapterVersion) -> None:
    error = await failure(delete_base(store))
    assert (error.reason, error.metadata["dependants"]) == (Reason.RESOURCE_IN_USE, str(version.name))
    await revoke(store, version.name)
    await delete_base(store)
    assert (await failure(delete_base(store))).reason is Reason.BASE_MODEL_NOT_FOUND
    assert (await failure(add_version(store, seed=1))).reason is Reason.BASE_MODEL_NOT_FOUND


async def test_a_base_with_a_twin_goes_and_the_twin_stays(store: RegistryStore, version: AdapterVersion) -> None:
    await add_base(store, "twin")
    await delete_base(store)
    assert (await failure(delete_base(store, BaseModelName("twin")))).reason is Reason.RESOURCE_IN_USE


async def test_a_base_on_which_jobs_train_stays(store: RegistryStore) -> None:
    await add_base(store)
    error = await failure(delete_base(store, trainer=BusyTrainer()))
    assert error.metadata["dependants"] == "projects/default/trainingJobs/j1"
    assert "1 training job (projects/default/trainingJobs/j1)" in error.message


async def test_of_twins_deleted_at_once_one_stays(store: RegistryStore, version: AdapterVersion) -> None:
    await add_base(store, "twin")
    answers = await asyncio.gather(
        delete_base(store), delete_base(store, BaseModelName("twin")), return_exceptions=True
    )
    assert [answer for answer in answers if answer is None] == [None]
    (error,) = (answer for answer in answers if answer is not None)
    assert isinstance(error, DomainError)
    assert error.reason is Reason.RESOURCE_IN_USE


async def test_a_version_is_not_added_while_its_base_is_deleted(store: RegistryStore) -> None:
    await add_base(store)
    await add_adapter(store)
    new = await read(manifest())

    async def add() -> None:
        async with store.transaction() as transaction:
            await versions.create(transaction, new)

    await asyncio.gather(add(), delete_base(store), return_exceptions=True)
    async with store.transaction() as transaction:
        base = await transaction.find_base_model(TINY)
        added = await transaction.find_version(new.name)
    assert (base is None) is (added is None)


async def test_signatures_go_with_their_version(
    store: RegistryStore, version: AdapterVersion, request: pytest.FixtureRequest
) -> None:
    async with store.transaction() as transaction:
        await versions.create(transaction, await read(manifest(), key=STRANGERS_KEY))
    await delete_version(store, version.name)
    again = await add_version(store)
    assert len(again.signatures) == 1
    if "postgres" in request.node.name:
        with psycopg.connect(request.getfixturevalue("postgres_url")) as connection:
            row = connection.execute("SELECT count(*) FROM registry.version_signatures").fetchone()
        assert row == (1,)


async def test_used_files_are_those_that_versions_of_the_project_name(
    store: RegistryStore, version: AdapterVersion
) -> None:
    used, unused = version.files[0].sha256, "0" * 64
    default, other = ProjectName("default"), ProjectName("other")
    async with store.transaction() as transaction:
        assert await versions.find_used_files(transaction, default, [used, unused]) == {used}
        assert await versions.find_used_files(transaction, other, [used]) == set()
        assert await versions.find_used_files(transaction, default, []) == set()
        error = await failure(versions.find_used_files(transaction, default, [unused] * 1001))
    assert error.reason is Reason.INVALID_ARGUMENT
    await delete_version(store, version.name)
    async with store.transaction() as transaction:
        assert await versions.find_used_files(transaction, default, [used]) == set()


async def test_a_project_holds_its_adapters_and_no_others(store: RegistryStore, version: AdapterVersion) -> None:
    (found,) = await ProjectContents(store, NoTrainer())(ProjectName("default"))
    assert str(found) == f"1 adapter ({WUKONG})"
    (none,) = await ProjectContents(store, NoTrainer())(ProjectName("other"))
    assert none.found.count == 0
