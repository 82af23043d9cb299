"""One attempt at a job, told in order: base, rows, checkpoints, training, publication."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.background import beside
from services.common.bases.sources import fetch_base
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterVersionName
from services.common.signing import SigningKey, sign
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import Claim, Dataset, Progress, TrainingJob
from services.trainer.recipe.planning.findings import of_error
from services.trainer.recipe.protocol import CheckpointTask, Level, RecipeTask, checkpoint_file
from services.trainer.support.executor import Executor
from services.trainer.support.full_disk import is_full_disk
from services.trainer.support.retry import through_outages
from services.trainer.support.threads import in_daemon_thread
from services.trainer.transfer.publish import Publisher
from services.trainer.worker.checkpoint_uploads import CheckpointUploads
from services.trainer.worker.job_directory import job_directory
from services.trainer.worker.output import Trained, list_output, make_manifest
from services.trainer.worker.recorder import Recorder
from services.trainer.worker.training import Training
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc

CHECKPOINTS: Final = "checkpoints"
"""Where the recipe writes them, below the attempt's directory."""

RESUME_FROM: Final = "resume"
"""Where those of earlier attempts lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """How often a run is kept; None for never by that measure.

    Attributes:
        seconds: apart.
        steps: apart.
    """

    seconds: float | None
    steps: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Carries jobs through from claim to READY version.

    Attributes:
        queue: where what happens is told.
        artifacts: where rows come from.
        base_models: the registry, for the base.
        publisher: where adapters go.
        signing_key: vouches for them.
        executor: what trains.
        cache_dir: for bases, their digests, and the files of running jobs.
        base_roots: below which ``file://`` sources may lie.
        flush_seconds: how often metrics are written.
        threads: CPU threads of a training; None for all.
        checkpoints: how often a run is kept.
        pause_seconds: how long a training may take to the end of its step when it is asked to pause.
    """

    queue: JobQueue
    artifacts: ArtifactStore
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"  # the class exists in the stubs alone
    publisher: Publisher
    signing_key: SigningKey
    executor: Executor
    cache_dir: Path
    base_roots: tuple[Path, ...]
    flush_seconds: float
    threads: int | None
    checkpoints: CheckpointPolicy
    pause_seconds: float

    async def run(self, claim: Claim, pause: asyncio.Event) -> AdapterVersionName | None:
        """Do one job; cancelling this ends the training and leaves nothing running.

        Args:
            claim: the job.
            pause: once set, training stops after the step at hand; what is trained by then is published all the same.

        Returns:
            The version; None where the job paused, and all that is needed to go on is kept.

        Raises:
            DomainError: why the job failed; LEASE_LOST once another worker may have it.
        """
        async with Recorder(self.queue, claim.lease, flush_seconds=self.flush_seconds) as recorder:

            async def tell(error: DomainError) -> None:
                if error.reason is Reason.VERDICT_NOT_ADMITTED:
                    await recorder.say(Level.WARNING, f"The version is READY, but {error.message}")
                    return
                # Not the error's own text: it is for whoever runs the platform, and may tell of its machines.
                text = f"Publication has to wait ({error.reason}). The result is kept, and published once that is over."
                await recorder.say(Level.WARNING, text)

            project = claim.job.name.project
            manifest = await self._result_of_earlier_attempt(claim, recorder)
            if manifest is None:
                async with job_directory(self.cache_dir / "jobs", claim.job) as directory, _explained(recorder):
                    manifest = await self._train(claim, directory, recorder, pause)
                    if manifest is None:
                        return None
                    await self.publisher.upload(project, manifest, directory / "output", tell)
            # Whoever lost the job to another worker must not publish beside it.
            await through_outages(lambda: self.queue.heartbeat(claim.lease))
            # Not kept with the manifest: a key that was replaced meanwhile must not sign any more.
            envelope = sign(manifest.to_bytes(), self.signing_key).to_bytes()
            return await self.publisher.register(claim.job.adapter, manifest, envelope, tell)

    async def _result_of_earlier_attempt(self, claim: Claim, recorder: Recorder) -> AdapterManifest | None:
        """Return what a worker had trained and stored before it was lost, so that it is not trained again."""
        if claim.manifest is None:
            return None
        manifest = AdapterManifest.from_bytes(claim.manifest)
        if not await self.publisher.holds(claim.job.name.project, manifest):
            return None
        done = manifest.training
        recorder.progress(
            Progress(
                step=done["steps"],
                total_steps=done["steps"],
                loss=done["final_loss"],
                trained_tokens=done["trained_tokens"],
            )
        )
        await recorder.say(Level.INFO, "An earlier attempt had finished training; its result is published now.")
        return manifest

    async def _train(
        self, claim: Claim, directory: Path, recorder: Recorder, pause: asyncio.Event
    ) -> AdapterManifest | None:
        training = Training(self.queue, claim, recorder)
        with _full_disk_told():
            async with beside(self._execute(claim, directory, training)) as work, beside(pause.wait()) as asked:
                await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done() and training.begun:
                    await asyncio.to_thread(_pause_file(directory).touch)
                    await asyncio.wait({work}, timeout=self.pause_seconds)
                if not work.done():
                    # Before the first step there is nothing to keep. After it, the last checkpoint has to do.
                    if training.begun:
                        text = f"No step ended within {self.pause_seconds:g} s; the job will go on from its last checkpoint."
                        await recorder.say(Level.WARNING, text)
                    return None
                trained = work.result()
            if trained is None:
                return None
            files = await asyncio.to_thread(list_output, directory / "output")
        manifest = make_manifest(claim, trained, files)
        # What is told so far first: whoever goes on from here trains no more, and tells nothing of it again.
        await recorder.flush()
        # Before anything is uploaded, so that whoever goes on from here publishes this very version.
        await through_outages(lambda: self.queue.keep_manifest(claim.lease, manifest.to_bytes()))
        return manifest

    async def _execute(self, claim: Claim, directory: Path, training: Training) -> Trained | None:
        task = await self._prepare(claim, directory, training.recorder)
        async with (
            CheckpointUploads(self.queue, claim.lease, self.artifacts, training.recorder) as uploads,
            self.executor.run(task, directory) as events,
        ):
            return await training.follow(events, uploads, directory / CHECKPOINTS)

    async def _prepare(self, claim: Claim, directory: Path, recorder: Recorder) -> RecipeTask:
        job, rows, validation = claim.job, claim.dataset, claim.validation_dataset
        base = await through_outages(lambda: self._base_model(job))
        fetch = partial(fetch_base, tuple(base.sources), cache_dir=self.cache_dir, roots=self.base_roots)
        return RecipeTask(
            base_model=str(job.base_model),
            base_directory=await in_daemon_thread(fetch),
            base_fingerprint_id=job.base_fingerprint_id,
            dataset_path=await self._fetch(rows, directory / "rows"),
            dataset_format=rows.format,
            validation_path=await self._fetch(validation, directory / "validation") if validation else None,
            validation_format=validation.format if validation else None,
            validation_fraction=job.validation_fraction,
            output_directory=directory / "output",
            hyperparameters=job.hyperparameters,
            cache_dir=self.cache_dir / "digests",
            threads=self.threads,
            checkpoints=await self._checkpoint_task(claim, directory, recorder),
            force=job.force,
        )

    async def _checkpoint_task(self, claim: Claim, directory: Path, recorder: Recorder) -> CheckpointTask:
        for name in (CHECKPOINTS, RESUME_FROM):
            await asyncio.to_thread((directory / name).mkdir)
        return CheckpointTask(
            directory=directory / CHECKPOINTS,
            pause_file=_pause_file(directory),
            writer=f"{claim.job.name}, epoch {claim.lease.epoch}",
            every_steps=self.checkpoints.steps,
            every_seconds=self.checkpoints.seconds,
            resume_from=await self._fetch_checkpoints(claim, directory / RESUME_FROM, recorder),
        )

    async def _fetch_checkpoints(self, claim: Claim, directory: Path, recorder: Recorder) -> tuple[Path, ...]:
        """Fetch what the run may go on from; a checkpoint that is damaged or gone is said to be so, and passed over."""
        found = []
        for checkpoint in claim.checkpoints:
            path = checkpoint_file(directory / str(checkpoint.number), checkpoint.step)
            fetch = partial(self.artifacts.fetch, claim.job.name.project, checkpoint.sha256, path)
            try:
                await _through_outages_of_the_store(fetch)
            except DomainError as error:
                if error.reason not in {Reason.ARTIFACT_CORRUPT, Reason.ARTIFACT_NOT_FOUND}:
                    raise
                text = f"The checkpoint after step {checkpoint.step} is not used: {error.reason}. An earlier one or the beginning is."
                await recorder.say(Level.WARNING, text)
            else:
                found.append(path)
        return tuple(found)

    async def _base_model(self, job: TrainingJob) -> base_model_pb2.BaseModel:
        request = base_model_pb2.GetBaseModelRequest(name=str(job.base_model))
        base = (await self.base_models.GetBaseModel(request)).base_model
        if base.fingerprint.id != job.base_fingerprint_id:
            expected, actual = job.base_fingerprint_id, base.fingerprint.id
            raise DomainError(
                Reason.BASE_FINGERPRINT_MISMATCH,
                f"{job.base_model} was another base when the job was created: its fingerprint was {expected[:12]}… and "
                f"is {actual[:12]}…. Create the job again.",
                {"expected_id": expected, "actual_id": actual},
            )
        return base

    async def _fetch(self, dataset: Dataset, path: Path) -> Path:
        await _through_outages_of_the_store(partial(self.artifacts.fetch, dataset.name.project, dataset.sha256, path))
        return path


async def _through_outages_of_the_store(fetch: Callable[[], None]) -> None:
    """Fetch a file, however long that takes; a full disk of our own is no outage, and nobody would wait for its end."""

    async def attempt() -> None:
        try:
            await in_daemon_thread(fetch)
        except DomainError as error:
            raise (_full_disk() if error.reason is Reason.ARTIFACT_STORE_FULL else error) from None

    await through_outages(attempt)


@asynccontextmanager
async def _explained(recorder: Recorder) -> AsyncIterator[None]:
    """Tell the finding that explains a failure, before the job ends with it."""
    try:
        yield
    except DomainError as error:
        if (finding := of_error(error)) is not None:
            await recorder.find(finding)
        raise


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise _full_disk() from error


def _full_disk() -> DomainError:
    text = "The disk of the worker is full. Make room below its cache directory, then create the job again."
    return DomainError(Reason.DATA_DIRECTORY_UNUSABLE, text)


def _pause_file(directory: Path) -> Path:
    return directory / "pause"
