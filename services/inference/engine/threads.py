"""Which threads compute.

OpenMP gives every thread that has computed in parallel helpers of its own, for as long as it lives. Helpers wait for work by spinning,
but as soon as there are more of all such threads than processors, each of them goes to sleep instead, and waking one up costs more than
most operations of a step: steps take twice as long. So all engines compute in one thread, and everything else that computes does so in
a thread that ends with it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from typing import Final, ParamSpec, Protocol, TypeVar

import structlog
import torch

from services.inference.engine.crew import Crew

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

AGAIN: Final = 0.05
"""Seconds after which an engine that raised is asked again."""


async def in_own_thread(call: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call in a thread that ends with it, within the trace of the caller."""
    result: Future[T] = Future()
    context = copy_context()

    def work() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(context.run(call, *arguments, **keywords))
        except StopIteration as error:
            # asyncio's futures take none, and whoever waits would wait for ever.
            result.set_exception(RuntimeError(f"a call in a thread raised {error!r}"))
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


class EngineThread:
    """The thread in which engines compute, a step each in turn; it lives as long as there are any."""

    def __init__(self) -> None:
        """Begin without engines."""
        self._changed = threading.Condition()
        self._workers: list[Worker] = []
        self._running = False
        self._woken = False
        self._crew: Crew | None = None

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
            self._woken = True  # what waits would hold on to it, and its memory, until another engine has work

    def wake(self) -> None:
        """Ask all engines soon; callable from any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Learn from what is computed here, in a turn, how many threads compute best.

        What one thread does by itself, such as taking adapters into slots, would look as if others had kept it waiting.
        """
        began, used = time.monotonic(), time.process_time()
        yield
        now = time.monotonic()
        if self._crew is not None:
            self._crew.worked(now - began, time.process_time() - used, now)

    def _run(self) -> None:
        self._crew = Crew(torch.get_num_threads(), torch.set_num_threads)
        while True:
            with self._changed:
                self._woken = False
                if not self._workers:
                    self._running = False
                    return
            # Nothing here refers to an engine while the thread waits: one that has left must be able to go.
            pauses = [pause for worker in tuple(self._workers) if (pause := _turn(worker)) is not None]
            pause = min(pauses, default=None)
            if pause == 0:
                continue
            with self._changed:
                if self._workers and not self._woken:
                    self._changed.wait(pause)


def _turn(worker: Worker) -> float | None:
    """A turn; one that raises is its engine's trouble, and takes nobody else's thread away."""
    try:
        return worker.turn()
    except BaseException:
        log.exception("an engine raised")
        return AGAIN
