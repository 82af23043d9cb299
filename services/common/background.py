"""What runs beside something else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from services.common.errors import DomainError

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def again_and_again(what: str, work: Callable[[], Awaitable[Mapping[str, int]]], interval_seconds: float) -> None:
    """Do something for ever, with pauses; an error is logged, and so is what was done.

    Args:
        what: how the log calls it.
        work: says how many of what it has done.
        interval_seconds: the pause.
    """
    while True:
        try:
            done = await work()
        except DomainError as error:
            log.warning("cannot do this now", what=what, reason=error.reason)
        except Exception:  # a fault, of which nobody else would hear; the next time may be another case
            log.exception("failed", what=what)
        else:
            if any(done.values()):
                log.info(what, **done)
        await asyncio.sleep(interval_seconds)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Do something beside the block, and end it with the block; whether it failed is for the block to look at."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Return when one of them is done; the others are ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
