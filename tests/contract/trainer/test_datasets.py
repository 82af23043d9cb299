import asyncio
from dataclasses import replace

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import DatasetName
from services.trainer.jobs import rules
from services.trainer.model import JobFilter
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import PROJECT, SHA256, dataset, job, nothing, queued


async def test_keeps_what_was_added(store: Store) -> None:
    added = await store.datasets.add(dataset(), nothing)
    assert added.create_time is not None
    assert added.position > 0
    assert replace(added, create_time=None, position=0) == dataset()
    assert await store.datasets.get(added.name) == added


async def test_adds_nothing_that_is_not_confirmed(store: Store) -> None:
    async def refuse() -> None:
        raise DomainError(Reason.ARTIFACT_STORE_UNAVAILABLE, "gone")

    with pytest.raises(DomainError, match="gone"):
        await store.datasets.add(dataset(), refuse)
    assert await store.datasets.page(PROJECT, before=None, limit=9) == []


async def test_pages_newest_first_within_a_project(store: Store) -> None:
    for number in range(5):
        await store.datasets.add(dataset(f"d{number}"), nothing)
    await store.datasets.add(dataset("foreign", project="other"), nothing)
    first = await store.datasets.page(PROJECT, before=None, limit=3)
    rest = await store.datasets.page(PROJECT, before=first[-1].position, limit=3)
    assert [d.name.dataset for d in (*first, *rest)] == ["d4", "d3", "d2", "d1", "d0"]


async def test_an_unknown_data_set_is_not_found(store: Store) -> None:
    name = DatasetName(PROJECT, "none")
    for call in (store.datasets.get(name), store.datasets.remove(name), store.jobs.create(job(dataset_id="none"))):
        with pytest.raises(DomainError) as raised:
            await call
        assert raised.value.reason is Reason.DATASET_NOT_FOUND


@pytest.mark.parametrize("role", ["dataset", "validation"])
async def test_a_data_set_in_use_stays_until_the_job_has_ended(store: Store, role: str) -> None:
    await store.datasets.add(dataset("rows"), nothing)
    used = await store.datasets.add(dataset("used"), nothing)
    asked = job(dataset_id="used") if role == "dataset" else job(validation="used")
    created = await store.jobs.create(asked)
    with pytest.raises(DomainError) as raised:
        await store.datasets.remove(used.name)
    assert raised.value.reason is Reason.DATASET_IN_USE
    assert str(created.name) in raised.value.message
    await store.jobs.change(created.name, rules.cancel)
    assert await store.datasets.remove(used.name) == used
    assert (await store.jobs.get(created.name)).name == created.name


async def test_content_is_discarded_with_its_last_data_set(store: Store) -> None:
    discarded: list[str] = []

    async def discard() -> None:
        discarded.append(SHA256)

    for name in ("one", "two"):
        await store.datasets.add(dataset(name), nothing)
    await store.datasets.remove(DatasetName(PROJECT, "one"))
    await store.blobs.if_unneeded(PROJECT, SHA256, discard)
    assert discarded == []
    await store.datasets.remove(DatasetName(PROJECT, "two"))
    await store.blobs.if_unneeded(PROJECT, SHA256, discard)
    assert discarded == [SHA256]


async def test_a_deletion_and_a_job_that_meet_leave_no_job_without_its_data(store: Store) -> None:
    for _ in range(10):
        await queued(store, "warm-up") if not await store.jobs.page(JobFilter(PROJECT), before=None, limit=1) else None
        raced = await store.datasets.add(dataset("raced"), nothing)
        results = await asyncio.gather(
            store.datasets.remove(raced.name), store.jobs.create(job(dataset_id="raced")), return_exceptions=True
        )
        reasons = [result.reason for result in results if isinstance(result, DomainError)]
        assert len(reasons) == 1
        assert reasons[0] in {Reason.DATASET_IN_USE, Reason.DATASET_NOT_FOUND}
        if reasons == [Reason.DATASET_IN_USE]:
            for unfinished in await store.jobs.page(JobFilter(PROJECT), before=None, limit=99):
                await store.jobs.change(unfinished.name, rules.cancel)
            await store.datasets.remove(raced.name)
