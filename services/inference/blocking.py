"""Threads for work that waits for disks and networks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """A pool apart from the event loop's own: requests for what is in memory never wait behind loads."""

    def __init__(self, threads: int) -> None:
        """Start with none of at most so many threads."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="load")

    async def run(self, call: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call in a thread, within the trace of the caller."""
        work = partial(copy_context().run, call, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
