"""A worker's life: take a job, hold it, carry it through, write how it ended, take the next one."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from opentelemetry import propagate, trace

from services.common.background import beside, first_of
from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterVersionName
from services.common.telemetry import current_trace_id
from services.trainer.jobs.queue import JobQueue
from services.trainer.jobs.wakeups import Wakeups
from services.trainer.model import Claim, JobError, JobState
from services.trainer.support.retry import through_outages
from services.trainer.worker.attempt import Attempts

FAREWELL_SECONDS: Final = 5.0
"""How long a worker that was told to end tries to write what became of its job."""

LONGEST_SILENCE_SECONDS: Final = 1.0
"""A worker looks so often whether its job is still wanted: who cancels one may count on two seconds, told or not."""

Write = Callable[[], Awaitable[None]]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Interruption(enum.Enum):
    """Why an attempt has to stop at once."""

    CANCELLED = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Takes jobs from the queue.

    Attributes:
        name: told to whom its job belongs.
        queue: where jobs are.
        wakeups: told of new jobs and of cancellations.
        attempts: how a job is done.
        poll_seconds: how often to look without being told.
        farewell_seconds: how long the training may take to leave a checkpoint when the worker ends.
    """

    name: str
    queue: JobQueue
    wakeups: Wakeups
    attempts: Attempts
    poll_seconds: float
    farewell_seconds: float

    async def run(self, stop: asyncio.Event) -> None:
        """Do jobs until asked to stop; the one at hand is given back then."""
        with self.wakeups.subscribe() as news:
            while not stop.is_set():
                claim = await self._next()
                if claim is not None:
                    await self._work(claim, stop)
                else:
                    await first_of(news.wait(self.poll_seconds), stop.wait())

    async def _next(self) -> Claim | None:
        try:
            await self.queue.recover()
            return await self.queue.claim(self.name)
        except DomainError as error:
            log.warning("cannot look for jobs", reason=error.reason)
            return None

    async def _work(self, claim: Claim, stop: asyncio.Event) -> None:
        context = propagate.extract({"traceparent": claim.job.traceparent})
        with (
            trace.get_tracer(__name__).start_as_current_span("training job", context),
            structlog.contextvars.bound_contextvars(training_job=str(claim.job.name), attempt=claim.job.attempt),
        ):
            log.info("job taken")
            pause = asyncio.Event()
            async with (
                beside(stop.wait()) as stopping,
                beside(self._keep(claim, pause)) as keeper,
                beside(self.attempts.run(claim, pause)) as attempt,
            ):
                await asyncio.wait({attempt, keeper, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    pause.set()
                    await asyncio.wait(
                        {attempt, keeper}, timeout=self.farewell_seconds, return_when=asyncio.FIRST_COMPLETED
                    )
                if not attempt.done():
                    attempt.cancel()
                    await asyncio.wait({attempt})
                ending = self._ending(claim, attempt, keeper, stopping=stopping.done())
                async with beside(self._write(ending)) as writing:
                    await asyncio.wait({writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.wait({writing}, timeout=FAREWELL_SECONDS)

    def _ending(
        self,
        claim: Claim,
        attempt: asyncio.Task[AdapterVersionName | None],
        keeper: asyncio.Task[Interruption],
        *,
        stopping: bool,
    ) -> Write | None:
        """Return what to write at the end of an attempt; None where that is another worker's business now."""
        if attempt.cancelled():
            if not keeper.done():
                log.info("job given back")
                return partial(self.queue.give_back, claim.lease)
            if keeper.result() is Interruption.CANCELLED:
                log.info("job cancelled")
                return partial(self.queue.confirm_cancellation, claim.lease)
            log.warning("lease lost")
            return None
        error = attempt.exception()
        if error is not None:
            told = _told(error)
            write = self.queue.crash if _is_sudden(told) else self.queue.fail
            return partial(write, claim.lease, told)
        version = attempt.result()
        if version is None:
            log.info("job paused")
            return partial(self.queue.give_back if stopping else self.queue.confirm_pause, claim.lease)
        log.info("job succeeded", adapter_version=str(version))
        return partial(self.queue.succeed, claim.lease, version)

    async def _write(self, write: Write | None) -> None:
        if write is None:
            return
        try:
            await through_outages(write)
        except DomainError as error:
            log.warning("the job's end is not written", reason=error.reason, message=error.message)

    async def _keep(self, claim: Claim, pause: asyncio.Event) -> Interruption:
        """Renew the lease until the attempt has to stop; where it shall pause, say so and go on."""
        interval = min(self.poll_seconds, self.queue.lease_seconds / 4, LONGEST_SILENCE_SECONDS)
        with self.wakeups.subscribe(str(claim.job.name)) as news:
            while True:
                try:
                    match await self.queue.heartbeat(claim.lease):
                        case JobState.CANCELLING:
                            return Interruption.CANCELLED
                        case JobState.PAUSING:
                            pause.set()
                except DomainError as error:
                    if error.reason is Reason.LEASE_LOST:
                        return Interruption.LOST
                    # The job goes on: its lease cannot run out before Postgres is back.
                    log.warning("cannot renew the lease", reason=error.reason)
                await news.wait(interval)


def _is_sudden(error: JobError) -> bool:
    """Whether the training was killed, which another attempt may be spared."""
    return error.reason is Reason.TRAINING_CRASHED and "signal" in error.metadata


def _told(error: BaseException) -> JobError:
    if isinstance(error, DomainError):
        log.warning("job failed", reason=error.reason, message=error.message)
        return JobError.of(error)
    log.error("job failed", exc_info=error)
    text = "The worker failed; its log has the details under this trace id."
    return JobError(Reason.INTERNAL, text, {"trace_id": current_trace_id()})
