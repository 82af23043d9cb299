"""Which threads compute, and how many together.

OpenMP gives every thread that has computed in parallel helpers of its own, for as long as it lives. Helpers wait for work by spinning,
but as soon as there are more of all such threads than processors, each of them goes to sleep instead, and waking one up costs more than
most operations of a step: steps take twice as long. So all engines compute in one thread, and everything else that computes does so in
a thread that ends with it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Final, ParamSpec, Protocol, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


async def in_own_thread(call: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call in a thread that ends with it, within the trace of the caller."""
    result: Future[T] = Future()
    context = copy_context()

    def work() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(context.run(call, *arguments, **keywords))
        except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
            result.set_exception(error)

    threading.Thread(target=work, name="own").start()
    return await asyncio.wrap_future(result)


class Worker(Protocol):
    """What computes in an ``EngineThread``, a step at a time."""

    def turn(self) -> float | None:
        """Take a step, if there is one to take.

        Returns:
            Seconds after which to be asked again, 0 for at once; None: not before ``EngineThread.wake``.
        """


class Crew:
    """How many threads compute together: all that may, or fewer while other programs keep processors busy.

    Threads that compute together wait for the last of them at every operation. When one shares its processor with another program, that is
    several milliseconds each time, and a step takes ten times as long as with a thread less. That they wait shows in the processor time
    that the process got. Belongs to the engine's thread.
    """

    ENOUGH: Final = 0.75
    """Of the processor time that all threads could have had: with less, others were in the way."""

    WINDOW: Final = 0.05
    """Seconds of work that are looked at together."""

    SHORTEST, LONGEST = 0.25, 4.0
    """Seconds until all threads are tried again; longer each time that it was in vain."""

    def __init__(self, most: int, set_threads: Callable[[int], None]) -> None:
        """Begin with as many threads as there may be.

        Args:
            most: threads.
            set_threads: has so many compute from now on.
        """
        self._most = self._threads = most
        self._set_threads = set_threads
        self._wall = self._used = 0.0
        self._patience = self.SHORTEST
        self._until = 0.0

    @property
    def threads(self) -> int:
        """That compute now."""
        return self._threads

    def worked(self, wall: float, used: float, now: float) -> None:
        """Learn from a piece of work.

        Args:
            wall: seconds that it took.
            used: processor seconds that the process got meanwhile.
            now: seconds of a clock.
        """
        if self._threads < self._most:
            if now >= self._until:
                self._become(self._most)
            return
        self._wall += wall
        self._used += used
        if self._wall < self.WINDOW:
            return
        share = self._used / (self._wall * self._threads)
        self._wall = self._used = 0.0
        if share >= self.ENOUGH:
            self._patience = max(self._patience / 2, self.SHORTEST)
            return
        self._become(max(1, int(self._most * share)))
        self._until = now + self._patience
        self._patience = min(2 * self._patience, self.LONGEST)

    def _become(self, threads: int) -> None:
        if threads != self._threads:
            self._threads = threads
            self._set_threads(threads)
        self._wall = self._used = 0.0


class EngineThread:
    """The thread in which engines compute, a step each in turn; it lives as long as there are any."""

    def __init__(self) -> None:
        """Begin without engines."""
        self._changed = threading.Condition()
        self._workers: list[Worker] = []
        self._running = False
        self._woken = False

    def join(self, worker: Worker) -> None:
        """Give an engine its turns from now on."""
        with self._changed:
            self._workers.append(worker)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="engine", daemon=True).start()
        self.wake()

    def leave(self, worker: Worker) -> None:
        """Give an engine no more turns; in its own turn."""
        with self._changed:
            self._workers.remove(worker)

    def wake(self) -> None:
        """Ask all engines soon; callable from any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def _run(self) -> None:
        crew = Crew(torch.get_num_threads(), torch.set_num_threads)
        while True:
            with self._changed:
                self._woken = False
                workers = list(self._workers)
                if not workers:
                    self._running = False
                    return
            began, used = time.monotonic(), time.process_time()
            pauses = [pause for worker in workers if (pause := worker.turn()) is not None]
            pause = min(pauses, default=None)
            if pause == 0:
                now = time.monotonic()
                crew.worked(now - began, time.process_time() - used, now)
                continue
            with self._changed:
                if self._workers and not self._woken:
                    self._changed.wait(pause)
