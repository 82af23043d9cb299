import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.jobs import rules
from services.trainer.model import Hyperparameters, JobMessage, StepMetrics
from services.trainer.recipe.protocol import Level
from services.trainer.storage.memory import MemoryStore
from services.trainer.worker import recorder as recorder_module
from services.trainer.worker.recorder import Recorder
from tests.unit.trainer.stores import Forgetful, claimed


def metrics(step: int) -> StepMetrics:
    return StepMetrics(
        step=step,
        total_steps=9,
        loss=1.0 / step,
        learning_rate=1e-3,
        gradient_norm=1.0,
        tokens_per_second=1.0,
        epoch=0.1,
        trained_tokens=step * 10,
    )


async def test_many_steps_are_few_writes_and_none_is_missing() -> None:
    store = MemoryStore()
    counting = Forgetful(store, losses=0)
    queue, claim = await claimed(store)
    async with Recorder(queue, claim.lease, flush_seconds=0.05) as recorder:
        recorder.choose(Hyperparameters(lora_rank=8))
        for step in range(1, 501):
            await recorder.step(metrics(step))
            if step % 100 == 0:
                await asyncio.sleep(0.06)
    events = await store.jobs.events(claim.lease.name, after=2, limit=999)
    assert [event.body.step for event in events if isinstance(event.body, StepMetrics)] == list(range(1, 501))
    assert counting.calls < 20
    job = await store.jobs.get(claim.lease.name)
    assert (job.progress.step, job.progress.trained_tokens, job.hyperparameters.lora_rank) == (500, 5000, 8)


async def test_what_was_written_before_the_answer_was_lost_is_not_written_twice() -> None:
    store = MemoryStore()
    Forgetful(store, losses=3)
    queue, claim = await claimed(store)
    async with Recorder(queue, claim.lease, flush_seconds=0.01) as recorder:
        for step in range(1, 30):
            await recorder.step(metrics(step))
            await asyncio.sleep(0.002)
    events = await store.jobs.events(claim.lease.name, after=2, limit=999)
    assert [event.body.step for event in events if isinstance(event.body, StepMetrics)] == list(range(1, 30))


async def test_a_lost_lease_is_told_to_whoever_records() -> None:
    store = MemoryStore()
    queue, claim = await claimed(store)
    await store.jobs.change(claim.lease.name, rules.lose(3))

    async def record() -> None:
        async with asyncio.timeout(5), Recorder(queue, claim.lease, flush_seconds=0.01) as recorder:
            while True:
                await recorder.say(Level.INFO, "still here")
                await asyncio.sleep(0.01)

    with pytest.raises(DomainError) as raised:
        await record()
    assert raised.value.reason is Reason.LEASE_LOST


async def test_a_full_recorder_makes_its_source_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "CAPACITY", 3)
    store = MemoryStore()
    queue, claim = await claimed(store)
    async with Recorder(queue, claim.lease, flush_seconds=0.2) as recorder:
        for number in range(3):
            await recorder.say(Level.INFO, str(number))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await recorder.say(Level.INFO, "waits")
        await recorder.say(Level.INFO, "3")
    events = await store.jobs.events(claim.lease.name, after=2, limit=9)
    assert [e.body.text for e in events if isinstance(e.body, JobMessage)] == ["0", "1", "2", "3"]


async def test_work_that_is_cut_off_writes_nothing_more() -> None:
    store = MemoryStore()
    queue, claim = await claimed(store)

    async def work() -> None:
        async with Recorder(queue, claim.lease, flush_seconds=60) as recorder:
            await recorder.say(Level.INFO, "unwritten")
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert len(await store.jobs.events(claim.lease.name, after=2, limit=9)) == 0
