"""How many threads compute, by the processor time they get; and who has a thread of their own."""

import asyncio
import threading

import pytest

from services.inference.engine.threads import Crew, EngineThread, in_own_thread


class Machine:
    """Work of a crew on so many processors of which others keep some busy."""

    def __init__(self, processors: int) -> None:
        self.busy, self.now, self.set = 0.0, 0.0, []  # type: tuple[float, float, list[int]]
        self.processors = processors
        self.crew = Crew(processors, self.set.append)

    def work(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.01
            got = min(self.crew.threads, self.processors - self.busy)
            self.crew.worked(0.01, 0.01 * got, self.now)


def test_alone_all_threads_compute() -> None:
    machine = Machine(2)
    machine.work(60)
    assert machine.set == []


@pytest.mark.parametrize(("processors", "busy", "threads"), [(2, 1, 1), (4, 2, 2), (8, 7, 1)])
def test_beside_other_programs_fewer_do(processors: int, busy: int, threads: int) -> None:
    machine = Machine(processors)
    machine.busy = busy
    machine.work(0.1)
    assert machine.crew.threads == threads


def test_all_are_tried_again_less_and_less_often() -> None:
    machine = Machine(2)
    machine.busy = 1
    machine.work(60)
    # With the longest pause every four seconds, and for a moment each time.
    assert 10 <= machine.set.count(2) <= 25
    machine.busy = 0
    machine.work(5)
    assert machine.crew.threads == 2


def test_a_short_disturbance_costs_little() -> None:
    machine = Machine(2)
    machine.busy = 1
    machine.work(0.06)
    machine.busy = 0
    machine.work(0.3)
    assert machine.set == [1, 2]


def test_one_thread_has_nobody_to_wait_for() -> None:
    machine = Machine(1)
    machine.busy = 0.9
    machine.work(10)
    assert machine.set == []


async def test_what_computes_in_its_own_thread_leaves_none_behind() -> None:
    before = threading.active_count()
    names = await asyncio.gather(*(in_own_thread(threading.get_ident) for _ in range(8)))
    assert threading.get_ident() not in names
    for _ in range(100):
        if threading.active_count() == before:
            break
        await asyncio.sleep(0.01)
    assert threading.active_count() == before


async def test_what_fails_in_its_own_thread_fails_where_it_is_awaited() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_own_thread(lambda: 1 // 0)


class Counting:
    """Takes so many steps, then waits to be woken."""

    def __init__(self, thread: EngineThread, steps: int) -> None:
        self.thread, self.left, self.last = thread, steps, False
        self.done = threading.Event()

    def turn(self) -> float | None:
        if self.last:
            self.thread.leave(self)
            self.done.set()
            return None
        self.left = max(self.left - 1, 0)
        return 0 if self.left else None


def test_engines_take_turns_in_one_thread_that_ends_with_the_last_of_them() -> None:
    before = threading.active_count()
    thread = EngineThread()
    for _ in range(3):  # joined again after it ended
        workers = [Counting(thread, 50), Counting(thread, 5)]
        for worker in workers:
            thread.join(worker)
        assert threading.active_count() <= before + 1
        for worker in workers:
            worker.last = True
            thread.wake()
            assert worker.done.wait(5)
    while threading.active_count() > before:
        pass
