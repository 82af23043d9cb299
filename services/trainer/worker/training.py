"""Following a recipe: what it says becomes the job's events, and none that an earlier attempt told is told again.

A run that goes on from a checkpoint computes the steps after it once more. They are the same ones, so those that were told
stay as they are and are left out here; the first one after them goes on with the numbers. Where they differ (another
processor, another number of threads) the job says so, once, and what was told stands.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

from services.common.errors import DomainError, Reason
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import Claim, Hyperparameters, JobMessage, StepMetrics, Told
from services.trainer.recipe.protocol import (
    CheckpointWritten,
    Event,
    Failed,
    Finding,
    Finished,
    Level,
    Note,
    Paused,
    Plan,
    Planned,
    ResolvedHyperparameters,
    Started,
    Step,
    checkpoint_file,
)
from services.trainer.support.retry import through_outages
from services.trainer.worker.checkpoint_uploads import CheckpointUploads
from services.trainer.worker.output import Trained
from services.trainer.worker.recorder import Recorder


class Training:
    """One run of a recipe, as it is told.

    Attributes:
        recorder: where events go.
        begun: whether a step has been done.
    """

    def __init__(self, queue: JobQueue, claim: Claim, recorder: Recorder) -> None:
        """Follow the training of a job that is held."""
        self.recorder = recorder
        self.begun = False
        self._queue = queue
        self._claim = claim
        self._told = Told({}, frozenset())
        self._chosen: ResolvedHyperparameters | None = None
        self._hopeless: tuple[Finding, ...] = ()
        self._last: StepMetrics | None = None
        self._differs = False

    async def follow(
        self, events: AsyncIterator[Event], uploads: CheckpointUploads, checkpoints: Path
    ) -> Trained | None:
        """Tell what a recipe says, to its end.

        Args:
            events: what it says.
            uploads: takes its checkpoints.
            checkpoints: the directory in which it writes them.

        Returns:
            What it made; None where it paused, and its checkpoint is kept.

        Raises:
            DomainError: why it made nothing.
        """
        await self._recall(after_step=self._claim.checkpoints[-1].step if self._claim.checkpoints else 0)
        async for event in events:
            match event:
                case Failed():
                    raise DomainError(event.reason, event.message, event.metadata)
                case Paused():
                    await uploads.finish()
                    return None
                case Finished() if self._chosen is not None:
                    return Trained(event, self._chosen, self._hopeless)
                case CheckpointWritten() if self._last is not None and self._last.step == event.step:
                    # The path is ours to know; what the recipe says is only which step it was.
                    uploads.offer(checkpoint_file(checkpoints, event.step), self._last)
                case _:
                    await self._tell(event)
        raise DomainError(Reason.TRAINING_CRASHED, "The recipe finished before it had started.")

    async def _tell(self, event: Event) -> None:
        match event:
            case Planned():
                await self._plan(event.plan)
            case Started():
                await self._start(event)
            case Step():
                await self._step(_metrics(event))
            case Note():
                await self._note(JobMessage(event.level, event.text))

    async def _plan(self, plan: Plan) -> None:
        self._hopeless = plan.hopeless
        self.recorder.plan(plan)
        if self._claim.job.plan is None:  # else an earlier attempt has told them
            for finding in plan.findings:
                await self.recorder.find(finding)

    async def _recall(self, *, after_step: int) -> None:
        if self._claim.job.attempt > 1:
            lease = self._claim.lease
            self._told = await through_outages(lambda: self._queue.told(lease, after_step=after_step))

    async def _start(self, started: Started) -> None:
        self._chosen = started.hyperparameters
        self.recorder.choose(Hyperparameters(**asdict(started.hyperparameters)))
        self.recorder.progress(replace(self._claim.job.progress, total_steps=started.total_steps))
        if started.resumed_step:
            await self.recorder.say(Level.INFO, f"Training goes on after step {started.resumed_step}.")
        elif self._claim.checkpoints:
            # None of the checkpoints would do, so every step is computed again.
            await self._recall(after_step=0)

    async def _step(self, metrics: StepMetrics) -> None:
        self.begun, self._last = True, metrics
        told = self._told.steps.get(metrics.step)
        if told is None:
            await self.recorder.step(metrics)
        elif not self._differs and (told.loss, told.gradient_norm) != (metrics.loss, metrics.gradient_norm):
            self._differs = True
            text = (
                f"Step {metrics.step} was computed again and came out otherwise: its loss is {metrics.loss:g} now, and was "
                f"{told.loss:g}. The processor or the number of threads is another one; what was told stands."
            )
            await self.recorder.say(Level.WARNING, text)

    async def _note(self, message: JobMessage) -> None:
        if message not in self._told.messages:
            await self.recorder.say(message.level, message.text)


def _metrics(step: Step) -> StepMetrics:
    values = asdict(step)
    del values["event"]
    return StepMetrics(**values)
