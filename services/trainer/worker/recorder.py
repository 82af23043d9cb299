"""What happens during training on its way into the database: in batches, so that fast steps do not hammer it."""

import asyncio
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self

from services.common.errors import DomainError
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import (
    Batch,
    CheckpointKept,
    EventBody,
    Hyperparameters,
    JobMessage,
    Lease,
    Progress,
    StepMetrics,
)
from services.trainer.recipe.protocol import Finding, Level, Plan
from services.trainer.support.retry import through_outages

CAPACITY: Final = 5000
"""Events kept while Postgres is down. When they are full nothing more is read from the recipe, which then waits."""


class Recorder:
    """Collects a job's events and writes them now and then; an async context manager that writes the rest at its end.

    A batch keeps its number until it is known to be written, so that one whose answer was lost is not written twice.
    """

    def __init__(self, queue: JobQueue, lease: Lease, *, flush_seconds: float) -> None:
        """Write to a job that is held."""
        self._queue = queue
        self._lease = lease
        self._flush_seconds = flush_seconds
        self._number = 1
        self._events: list[EventBody] = []
        self._progress: Progress | None = None
        self._hyperparameters: Hyperparameters | None = None
        self._plan: Plan | None = None
        self._batch: Batch | None = None
        self._room = asyncio.Event()
        self._failure: DomainError | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._one_by_one = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Begin to write."""
        self._room.set()
        self._flushing = asyncio.create_task(self._flush_regularly())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Write the rest, unless the work was cut off."""
        if self._flushing is not None:
            self._flushing.cancel()
            with suppress(asyncio.CancelledError):
                await self._flushing
        if kind is None or issubclass(kind, Exception):
            await self.flush()

    async def step(self, metrics: StepMetrics) -> None:
        """Tell of an optimizer step.

        Raises:
            DomainError: LEASE_LOST, here and in the other methods, some time after it happened.
        """
        self._progress = Progress(
            step=metrics.step,
            total_steps=metrics.total_steps,
            loss=metrics.loss,
            trained_tokens=metrics.trained_tokens,
        )
        await self._add(metrics)

    async def say(self, level: Level, text: str) -> None:
        """Tell people something."""
        await self._add(JobMessage(level, text))

    async def checkpoint(self, kept: CheckpointKept) -> None:
        """Tell of a checkpoint that is in the artifact store. It is written after every step told before."""
        await self._add(kept)

    async def flush(self) -> None:
        """Write what is told so far, and return once it is written.

        Raises:
            DomainError: LEASE_LOST.
        """
        self._check()
        await self._flush()

    def choose(self, hyperparameters: Hyperparameters) -> None:
        """Show every choice made."""
        self._hyperparameters = hyperparameters

    def plan(self, plan: Plan) -> None:
        """Keep what the training was reckoned to be."""
        self._plan = plan

    async def find(self, finding: Finding) -> None:
        """Tell what a look at the plan has shown."""
        await self._add(finding)

    def progress(self, progress: Progress) -> None:
        """Show how far the job is, without a step."""
        self._progress = progress

    async def _add(self, event: EventBody) -> None:
        self._check()
        await self._room.wait()
        self._events.append(event)
        if len(self._events) >= CAPACITY:
            self._room.clear()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _flush_regularly(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._flush_seconds)
                await self._flush()
        except DomainError as error:
            self._failure = error
            self._room.set()

    async def _flush(self) -> None:
        # A batch that overtook another would have that one taken for written.
        async with self._one_by_one:
            while batch := self._batch or self._next_batch():
                self._batch = batch
                await through_outages(partial(self._queue.append, self._lease, batch))
                self._batch = None

    def _next_batch(self) -> Batch | None:
        if not self._events and self._progress is None and self._hyperparameters is None and self._plan is None:
            return None
        batch = Batch(
            number=self._number,
            events=tuple(self._events),
            progress=self._progress,
            hyperparameters=self._hyperparameters,
            plan=self._plan,
        )
        self._number += 1
        self._events, self._progress, self._hyperparameters, self._plan = [], None, None, None
        self._room.set()
        return batch
