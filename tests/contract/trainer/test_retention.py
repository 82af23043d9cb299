"""Who needs which bytes, and what has become too old, over every store."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.resource_names import TrainingJobName
from services.trainer.catalog.dataset_catalog import DatasetCatalog
from services.trainer.datasets import Limits
from services.trainer.jobs import rules
from services.trainer.model import Batch, JobMessage, StateChange
from services.trainer.recipe.protocol import Level
from services.trainer.retention.expiry import DAY_SECONDS, Expiry
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import PROJECT, SHA256, dataset, job, nothing, queue
from tests.contract.trainer.test_checkpoints import draft, held, keep
from tests.support.registry import manifest
from tests.unit.trainer.test_recorder import metrics

OTHER = "cd" * 32
SOON = 0.05 / DAY_SECONDS
"""A twentieth of a second, in days."""


async def discarded(store: Store, sha256: str, project: str = PROJECT) -> bool:
    calls: list[str] = []

    async def discard() -> None:
        calls.append(sha256)

    answer = await store.blobs.if_unneeded(project, sha256, discard)
    assert answer is bool(calls)
    return answer


async def test_bytes_of_data_sets_checkpoints_and_holds_are_needed_in_their_project(store: Store) -> None:
    assert await discarded(store, SHA256)
    lease = await held(store)
    await keep(queue(store), lease, 10)
    await store.blobs.hold(PROJECT, [OTHER, OTHER], 60)
    for sha256 in (SHA256, draft(10).sha256, OTHER):
        assert not await discarded(store, sha256)
        assert await discarded(store, sha256, "apes")


async def test_a_hold_ends_and_a_longer_one_wins(store: Store) -> None:
    await store.blobs.hold(PROJECT, [OTHER], 0.05)
    await asyncio.sleep(0.1)
    assert await discarded(store, OTHER)
    await store.blobs.forget_holds()
    await store.blobs.hold(PROJECT, [OTHER], 60)
    await store.blobs.hold(PROJECT, [OTHER], 0.01)
    await asyncio.sleep(0.05)
    await store.blobs.forget_holds()
    assert not await discarded(store, OTHER)


async def test_a_hold_waits_for_a_decision_under_way(store: Store, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        pytest.skip("in memory nobody waits: steps do not yield")
    order: list[str] = []

    async def discard() -> None:
        await asyncio.sleep(0.2)
        order.append("discarded")

    async def hold() -> None:
        await asyncio.sleep(0.05)
        await store.blobs.hold(PROJECT, [OTHER], 60)
        order.append("held")

    await asyncio.gather(store.blobs.if_unneeded(PROJECT, OTHER, discard), hold())
    assert order == ["discarded", "held"]


async def test_manifests_of_jobs_that_go_on_are_listed(store: Store) -> None:
    lease = await held(store)
    data = manifest().to_bytes()
    await queue(store).keep_manifest(lease, data)
    assert await store.blobs.manifests_to_publish(PROJECT) == [data]
    assert await store.blobs.manifests_to_publish("apes") == []
    await store.jobs.change(lease.name, rules.cancel)
    await queue(store).confirm_cancellation(lease)
    assert await store.blobs.manifests_to_publish(PROJECT) == []


def expiry(store: Store, root: Path, **days: Any) -> Expiry:
    unused: Any = None
    catalog = DatasetCatalog(
        store=store, artifacts=FileSystemStore.open(root), limits=Limits(), max_bytes=1000, examiner=unused
    )
    return Expiry(store=store, catalog=catalog, **{"event_days": None, "dataset_days": None, **days})


async def test_old_events_of_ended_jobs_go_but_how_it_went_stays(store: Store, tmp_path: Path) -> None:
    lease = await held(store)
    said = JobMessage(Level.INFO, "so it goes")
    await queue(store).append(lease, Batch(number=1, events=(metrics(1), said)))
    await keep(queue(store), lease)
    old = expiry(store, tmp_path / "a", event_days=SOON)
    await asyncio.sleep(0.1)
    assert await old.expire() == {"events": 0, "datasets": 0}
    await store.jobs.change(lease.name, rules.cancel)
    await queue(store).confirm_cancellation(lease)
    assert await expiry(store, tmp_path / "a", event_days=1).expire() == {"events": 0, "datasets": 0}
    await asyncio.sleep(0.1)
    assert await old.expire() == {"events": 2, "datasets": 0}
    left = await store.jobs.events(lease.name, after=0, limit=99)
    assert left
    assert all(isinstance(event.body, StateChange) for event in left)
    assert await old.expire() == {"events": 0, "datasets": 0}


async def test_data_sets_that_nobody_uses_go(store: Store, tmp_path: Path) -> None:
    await store.datasets.add(dataset("unused"), nothing)
    await store.datasets.add(dataset("rows"), nothing)
    await store.jobs.create(job("needs-it"))
    await asyncio.sleep(0.1)
    await store.datasets.add(dataset("fresh"), nothing)
    old = expiry(store, tmp_path / "a", dataset_days=SOON)
    assert await expiry(store, tmp_path / "a").expire() == {"events": 0, "datasets": 0}
    assert await old.expire() == {"events": 0, "datasets": 1}
    await store.jobs.change(TrainingJobName(PROJECT, "needs-it"), rules.cancel)
    assert [name.dataset for name in await store.datasets.unused(3600, 9)] == []
    await asyncio.sleep(0.1)
    assert [name.dataset for name in await store.datasets.unused(0.05, 9)] == ["rows", "fresh"]
    assert await old.expire() == {"events": 0, "datasets": 2}
