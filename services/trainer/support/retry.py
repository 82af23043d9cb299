"""Going on after an outage: what others will put right is tried again, everything else is an error."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog

from services.common.errors import DomainError, Reason

T = TypeVar("T")

OUTAGES: Final = frozenset(
    {
        Reason.SERVICE_UNAVAILABLE,
        Reason.DATABASE_UNAVAILABLE,
        Reason.DATABASE_CONFLICT,
        Reason.ARTIFACT_STORE_UNAVAILABLE,
        Reason.ARTIFACT_STORE_FULL,
        Reason.DEADLINE_EXCEEDED,
    }
)
"""Reasons that pass without anything being changed in the job."""

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


Tell = Callable[[DomainError], Awaitable[None]]
"""Passes an outage on to whom it concerns."""


class Persistence(Protocol):
    """What becomes of a call that meets an outage: ``through_outages`` or ``at_once``."""

    async def __call__(self, call: Callable[[], Awaitable[T]], tell: Tell | None = None, /) -> T:
        """Call, and return the answer.

        Raises:
            DomainError: whatever the call raises and this does not wait for.
        """


async def at_once(call: Callable[[], Awaitable[T]], _tell: Tell | None = None, /) -> T:
    """Call once: somebody waits for the answer, and an outage is one."""
    return await call()


async def through_outages(call: Callable[[], Awaitable[T]], tell: Tell | None = None, /) -> T:
    """Call until it works, however long that takes, with growing pauses; cancel to give up.

    Args:
        call: what to do; harmless to repeat.
        tell: awaited with the first outage.

    Raises:
        DomainError: any that is no outage.
    """
    delay = FIRST_DELAY
    while True:
        try:
            return await call()
        except DomainError as error:
            if error.reason not in OUTAGES:
                raise
            log.warning("trying again", reason=error.reason, message=error.message)
            if tell is not None:
                await tell(error)
                tell = None
        # Spread out: many workers come back at the same time.
        await asyncio.sleep(delay * random.uniform(0.7, 1.0))  # noqa: S311 - no secret
        delay = min(delay * 2, LONGEST_DELAY)
