"""How many threads compute, by the processor time they get."""

import pytest

from services.inference.engine.crew import Crew


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
