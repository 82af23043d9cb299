"""Following a job: its present state, its events as they come, heartbeats, and an end."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import TrainingJobName
from services.trainer.jobs.wakeups import Wakeups
from services.trainer.model import JobEvent, TrainingJob
from services.trainer.storage.store import JobStore

EVENTS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened; the watch is alive."""


Update = TrainingJob | JobEvent | Heartbeat


@dataclass(frozen=True, slots=True)
class Watcher:
    """Follows jobs.

    Attributes:
        jobs: where they are kept.
        wakeups: who is told when a job got events.
        reread_seconds: how often to look without being told; then a heartbeat is sent.
    """

    jobs: JobStore
    wakeups: Wakeups
    reread_seconds: float

    async def watch(self, name: TrainingJobName, after_sequence: int) -> AsyncIterator[Update]:
        """Yield the job, then its events after ``after_sequence`` in order; end after the final state's event.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; INVALID_ARGUMENT; DATABASE_UNAVAILABLE at any time: go on with another
                watch, after the last event seen.
        """
        if after_sequence < 0:
            text = f"it is {after_sequence}; it must be 0 or the sequence of an event"
            raise DomainError(
                Reason.INVALID_ARGUMENT, f"after_sequence: {text}.", violations=[Violation("after_sequence", text)]
            )
        # Before the first look, so that nothing falls between it and the first wait.
        with self.wakeups.subscribe(str(name)) as subscription:
            job = await self.jobs.get(name)
            yield job
            last = after_sequence
            while True:
                events = await self.jobs.events(name, after=last, limit=EVENTS_AT_ONCE)
                for event in events:
                    yield event
                    last = event.sequence
                    if event.final:
                        return
                if not events and await self._over(name, last):
                    return
                if len(events) < EVENTS_AT_ONCE and not await subscription.wait(self.reread_seconds):
                    yield Heartbeat()

    async def _over(self, name: TrainingJobName, last: int) -> bool:
        """Whether a caller who wants events after ``last`` will never get one."""
        job = await self.jobs.get(name)
        return job.state.final and job.last_sequence <= last
