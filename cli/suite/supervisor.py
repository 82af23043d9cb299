"""Keeps the processes of a suite running: starts them in order, restarts what dies, stops them in reverse order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.suite.child import Child
from cli.suite.process import ProcessSpec
from services.common.errors import DomainError

BACKOFF_FIRST: Final = 0.5
BACKOFF_LAST: Final = 10.0
"""Seconds before a restart: the first, doubled each time up to the last."""

STEADY_SECONDS: Final = 30.0
"""A process that has run for so long starts again with the first backoff."""

# The standard library's logger writes warnings to stderr without any set-up, which suits a command in the foreground.
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Backoff:
    """How long to wait before a process is started again."""

    delay: float = BACKOFF_FIRST

    def next(self, uptime: float) -> float:
        """Answer the seconds to wait after a process that ran for `uptime` seconds."""
        if uptime >= STEADY_SECONDS:
            self.delay = BACKOFF_FIRST
        delay, self.delay = self.delay, min(self.delay * 2, BACKOFF_LAST)
        return delay


class Supervisor:
    """The processes of one suite; `running` is the way to have one."""

    def __init__(self, specs: Sequence[ProcessSpec], logs: Path, hurry: asyncio.Event) -> None:
        """Start nothing yet.

        Args:
            specs: the processes; those that they depend on and use must be among them, and there must be no circle.
            logs: directory of the log files.
            hurry: set when the person asks twice to stop; may be set at any time.
        """
        self._children = {spec.name: Child(spec, logs / f"{spec.name}.log") for spec in _in_order(specs)}
        self._ready = {name: asyncio.Event() for name in self._children}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._hurry = hurry

    async def start(self) -> None:
        """Start everything, as far in parallel as dependencies allow, and wait until all of it is ready.

        Raises:
            DomainError: PROCESS_FAILED, or another failure of the first process that could not become ready.
        """
        self._keepers = {name: asyncio.create_task(self._keep(child)) for name, child in self._children.items()}
        ready = asyncio.create_task(self._all_ready(self._children))
        try:
            await asyncio.wait({ready, *self._keepers.values()}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                await self.watch()
        finally:
            ready.cancel()

    async def watch(self) -> None:
        """Wait for ever; only a defect of the supervisor itself ends it, with an exception."""
        done, _ = await asyncio.wait(self._keepers.values(), return_when=asyncio.FIRST_COMPLETED)
        for keeper in done:
            keeper.result()

    async def stop(self) -> None:
        """Stop everything, dependents first."""
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        stopping: dict[str, asyncio.Task[None]] = {}
        for child in reversed(self._children.values()):
            name = child.spec.name
            dependents = [task for other, task in stopping.items() if name in self._children[other].spec.outlived_by]
            stopping[name] = asyncio.create_task(self._stop_after(dependents, child))
        await asyncio.gather(*stopping.values())

    async def _stop_after(self, dependents: Iterable[asyncio.Task[None]], child: Child) -> None:
        for dependent in dependents:
            await dependent
        await child.stop(self._hurry)

    async def _keep(self, child: Child) -> None:
        await self._all_ready(child.spec.depends_on)
        await child.start()
        self._ready[child.spec.name].set()
        backoff = Backoff()
        while True:
            what = await child.exited()
            delay = backoff.next(child.uptime)
            log.warning("%s %s; starting it again in %g s.", child.spec.name, what, delay)
            await asyncio.sleep(delay)
            await self._restart(child, backoff)

    async def _restart(self, child: Child, backoff: Backoff) -> None:
        while True:
            try:
                await child.start()
            except DomainError as error:
                delay = backoff.next(0)
                log.warning("%s\nTrying again in %g s.", error.message, delay)
                await asyncio.sleep(delay)
            else:
                log.warning("%s is ready again.", child.spec.name)
                return

    async def _all_ready(self, names: Iterable[str]) -> None:
        for name in names:
            await self._ready[name].wait()


@asynccontextmanager
async def running(specs: Sequence[ProcessSpec], logs: Path, hurry: asyncio.Event) -> AsyncIterator[Supervisor]:
    """Have every process ready inside the block and none left after it; arguments as for `Supervisor`.

    Raises:
        DomainError: see `Supervisor.start`.
    """
    supervisor = Supervisor(specs, logs, hurry)
    try:
        await supervisor.start()
        yield supervisor
    finally:
        # A second cancellation must not leave processes behind; whoever is in a hurry has `hurry`.
        stopping = asyncio.create_task(supervisor.stop())
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        stopping.result()


def _in_order(specs: Sequence[ProcessSpec]) -> list[ProcessSpec]:
    placed: dict[str, ProcessSpec] = {}
    waiting = list(specs)
    while waiting:
        possible = [spec for spec in waiting if placed.keys() >= spec.outlived_by]
        if not possible:
            raise ValueError(f"These processes wait for one another: {', '.join(spec.name for spec in waiting)}")
        placed.update((spec.name, spec) for spec in possible)
        waiting = [spec for spec in waiting if spec.name not in placed]
    return list(placed.values())
