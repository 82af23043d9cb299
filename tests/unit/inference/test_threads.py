"""The thread that all engines share."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.inference.engine.threads import EngineThread, in_own_thread


@dataclass(eq=False)
class Worker:
    """Takes a turn for each piece of work, leaves when it is told to; may raise."""

    thread: EngineThread
    work: int = 0
    raises: BaseException | None = None
    closing: bool = False
    turns: int = 0
    threads: set[int] = field(default_factory=set)
    left: threading.Event = field(default_factory=threading.Event)

    def turn(self) -> float | None:
        self.threads.add(threading.get_ident())
        self.turns += 1
        if self.closing:
            self.thread.leave(self)
            self.left.set()
            return None
        if self.raises is not None:
            raise self.raises
        self.work = max(self.work - 1, 0)
        return 0 if self.work else None

    def close(self) -> None:
        self.closing = True
        self.thread.wake()
        assert self.left.wait(5)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("error", [RuntimeError("lost"), BaseException("a library panicked")])
async def test_an_engine_that_raises_takes_nobody_elses_turns(error: BaseException) -> None:
    thread = EngineThread()
    bad, good = Worker(thread, raises=error), Worker(thread)
    thread.join(bad)
    thread.join(good)
    await until(lambda: bad.turns > 0)
    good.work = 3
    thread.wake()
    await until(lambda: good.work == 0)
    before = bad.turns
    await until(lambda: bad.turns > before)  # it is asked again by itself
    for worker in (bad, good):
        worker.close()


async def test_engines_come_and_go_while_others_work() -> None:
    thread = EngineThread()
    steady = Worker(thread)
    thread.join(steady)

    def come_and_go() -> None:
        for _ in range(100):
            worker = Worker(thread, work=3)
            thread.join(worker)
            worker.close()

    coming = [asyncio.create_task(in_own_thread(come_and_go)) for _ in range(3)]
    while not all(task.done() for task in coming):
        steady.work = 5
        thread.wake()
        await until(lambda: steady.work == 0)
    await asyncio.gather(*coming)
    assert len(steady.threads) == 1
    steady.close()


async def test_the_thread_ends_with_the_last_engine_and_another_one_begins() -> None:
    thread = EngineThread()
    for _ in range(50):
        worker = Worker(thread, work=2)
        thread.join(worker)
        await until(lambda: worker.work == 0)  # noqa: B023  # awaited before the next one is made
        worker.close()
    await until(lambda: not any(one.name == "engine" for one in threading.enumerate()))


async def test_an_engine_that_has_left_is_not_kept_in_memory() -> None:
    thread = EngineThread()
    steady, leaving = Worker(thread), Worker(thread)
    thread.join(steady)
    thread.join(leaving)
    leaving.close()
    gone = weakref.ref(leaving)
    del leaving
    await asyncio.sleep(0.05)  # the thread waits for something to do
    gc.collect()
    assert gone() is None
    steady.close()


async def test_what_futures_do_not_take_reaches_the_caller_all_the_same() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(in_own_thread(lambda: next(iter(()))), 10)
