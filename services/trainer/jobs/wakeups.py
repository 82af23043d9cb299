"""Waking those who wait for news of a job: a hint over LISTEN and NOTIFY, never the news itself."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from services.common.db import Database
from services.common.errors import DomainError

RELISTEN_SECONDS: Final = 0.5
"""Pause before listening again after Postgres went away."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Subscription:
    """One waiter."""

    def __init__(self) -> None:
        """Start with no news."""
        self._news = asyncio.Event()

    def wake(self) -> None:
        """End the wait that is going on, or else the next one."""
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for news, but no longer than so long; return whether there was any."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        told = self._news.is_set()
        self._news.clear()
        return told


class Wakeups:
    """Who waits for which job, within this process."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._subscriptions: defaultdict[str | None, set[Subscription]] = defaultdict(set)

    @contextmanager
    def subscribe(self, key: str | None = None) -> Iterator[Subscription]:
        """Wait for news of one job, by name, or of any."""
        subscription = Subscription()
        self._subscriptions[key].add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[key].discard(subscription)
            if not self._subscriptions[key]:
                del self._subscriptions[key]

    def wake(self, key: str) -> None:
        """Wake those who wait for this job, and those who wait for any."""
        for subscription in (*self._subscriptions.get(key, ()), *self._subscriptions.get(None, ())):
            subscription.wake()

    def wake_all(self) -> None:
        """Wake everyone: something may have been missed."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.wake()


async def forward_notifications(database: Database, channel: str, wakeups: Wakeups) -> None:
    """Wake waiters as Postgres notifies, for ever; after an interruption everyone is woken to look again."""
    while True:
        try:
            async with database.listen(channel) as payloads:
                wakeups.wake_all()
                async for payload in payloads:
                    wakeups.wake(payload)
        except DomainError as error:
            log.warning("no notifications", channel=channel, reason=error.reason)
            wakeups.wake_all()
            await asyncio.sleep(RELISTEN_SECONDS)
