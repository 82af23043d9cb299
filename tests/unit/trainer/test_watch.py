import asyncio

import pytest

from services.common.errors import Reason
from services.trainer.jobs import rules
from services.trainer.jobs import watch as watch_module
from services.trainer.jobs.watch import Heartbeat, Update, Watcher
from services.trainer.model import JobError, JobMessage, JobState, StateChange, TrainingJob
from services.trainer.recipe.protocol import Level
from services.trainer.storage.memory import MemoryStore
from tests.unit.trainer.stores import claimed, queued


def kinds(updates: list[Update]) -> list[object]:
    return [
        "job" if isinstance(u, TrainingJob) else "beat" if isinstance(u, Heartbeat) else u.sequence for u in updates
    ]


async def test_news_wakes_a_watcher_long_before_it_looks_by_itself() -> None:
    store = MemoryStore()
    queue, claim = await claimed(store)
    watcher, seen = Watcher(store.jobs, store.wakeups, reread_seconds=60), list[Update]()

    async def follow() -> None:
        async for update in watcher.watch(claim.lease.name, 0):
            seen.append(update)

    async with asyncio.timeout(5):
        following = asyncio.create_task(follow())
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        await queue.fail(claim.lease, JobError(Reason.NOTHING_TO_LEARN, "No labels."))
        await following
    assert kinds(seen) == ["job", 1, 2, 3]


async def test_without_being_woken_a_watcher_looks_again_and_sends_heartbeats() -> None:
    store = MemoryStore()
    job = await queued(store)
    # Other wakeups than the store's: every notification is lost.
    watcher, seen = Watcher(store.jobs, MemoryStore().wakeups, reread_seconds=0.02), list[Update]()
    async with asyncio.timeout(5):
        async for update in watcher.watch(job.name, 0):
            seen.append(update)
            if kinds(seen) == ["job", 1, "beat", "beat"]:
                await store.jobs.change(job.name, rules.cancel)
    assert [kind for kind in kinds(seen) if kind != "beat"] == ["job", 1, 2]


@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_a_long_history_comes_whole(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(watch_module, "EVENTS_AT_ONCE", at_once)
    store = MemoryStore()
    job = await queued(store)
    note = JobMessage(Level.INFO, "note")
    await store.jobs.change(job.name, lambda j: rules.Change(j, (note,) * 6))
    await store.jobs.change(job.name, rules.cancel)
    watcher = Watcher(store.jobs, store.wakeups, reread_seconds=60)
    async with asyncio.timeout(5):
        updates = [update async for update in watcher.watch(job.name, 2)]
    assert kinds(updates) == ["job", 3, 4, 5, 6, 7, 8]
    last = updates[-1]
    assert not isinstance(last, TrainingJob | Heartbeat)
    assert last.body == StateChange(JobState.CANCELLED)
