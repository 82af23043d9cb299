"""Work that several requests need and one does."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial


class Flights:
    """Runs at most one piece of work for a key at a time; all who ask meanwhile wait for the same one."""

    def __init__(self) -> None:
        """Start without any."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the work of this key, starting it if nobody has; its error is everybody's.

        The work goes on when those who wait are cancelled: the next request will want it.
        """
        task = self._tasks.get(key)
        if task is None or task.done():  # what is done, and has not landed yet, is nobody's work any more
            task = asyncio.create_task(_run(work))
            self._tasks[key] = task
            task.add_done_callback(partial(self._landed, key))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel what is under way and wait until it is gone."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks[key] is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # those who waited may all be gone; an error nobody reads is a warning at exit


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
