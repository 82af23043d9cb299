"""One attempt at a job, told in order: base, rows, training, publication."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from services.common.artifacts.store import ArtifactStore
from services.common.bases.sources import fetch_base
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterVersionName
from services.common.signing import SigningKey, sign
from services.trainer.executor import Executor
from services.trainer.job_directory import job_directory
from services.trainer.model import Claim, Dataset, Hyperparameters, Progress, StepMetrics, TrainingJob
from services.trainer.output import Trained, list_output, make_manifest
from services.trainer.publish import Publisher
from services.trainer.queue import JobQueue
from services.trainer.recipe.protocol import (
    Event,
    Failed,
    Finding,
    Finished,
    Found,
    Level,
    Note,
    Planned,
    RecipeTask,
    ResolvedHyperparameters,
    Started,
    Step,
)
from services.trainer.recorder import Recorder
from services.trainer.retry import through_outages
from services.trainer.threads import in_daemon_thread
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc


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

    async def run(self, claim: Claim) -> AdapterVersionName:
        """Do one job; cancelling this ends the training and leaves nothing running.

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
                async with job_directory(self.cache_dir / "jobs", claim.job) as directory:
                    manifest = await self._train(claim, directory, recorder)
                    await self.publisher.upload(project, manifest, directory / "output", tell)
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

    async def _train(self, claim: Claim, directory: Path, recorder: Recorder) -> AdapterManifest:
        task = await self._prepare(claim, directory)
        async with self.executor.run(task, directory) as events:
            trained = await _follow(events, recorder, planned_before=claim.job.plan is not None)
        files = await asyncio.to_thread(list_output, task.output_directory)
        manifest = make_manifest(claim, trained, files)
        # Before anything is uploaded, so that whoever goes on from here publishes this very version.
        await through_outages(lambda: self.queue.keep_manifest(claim.lease, manifest.to_bytes()))
        return manifest

    async def _prepare(self, claim: Claim, directory: Path) -> RecipeTask:
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
            output_directory=directory / "output",
            hyperparameters=job.hyperparameters,
            cache_dir=self.cache_dir / "digests",
            threads=self.threads,
            force=job.force,
        )

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
        fetch = partial(self.artifacts.fetch, dataset.name.project, dataset.sha256, path)
        await through_outages(lambda: in_daemon_thread(fetch))
        return path


async def _follow(events: AsyncIterator[Event], recorder: Recorder, *, planned_before: bool) -> Trained:
    chosen: ResolvedHyperparameters | None = None
    hopeless: tuple[Finding, ...] = ()
    async for event in events:
        match event:
            case Planned():
                hopeless = event.plan.hopeless
                recorder.plan(event.plan)
                # An earlier attempt has told them.
                for finding in () if planned_before else event.plan.findings:
                    await recorder.find(finding)
            case Found():
                await recorder.find(event.finding)
            case Started():
                chosen = event.hyperparameters
                recorder.choose(Hyperparameters(**asdict(chosen)))
                recorder.progress(Progress(total_steps=event.total_steps))
            case Step():
                await recorder.step(_metrics(event))
            case Note():
                await recorder.say(event.level, event.text)
            case Failed():
                raise DomainError(event.reason, event.message, event.metadata)
            case Finished() if chosen is not None:
                return Trained(event, chosen, hopeless)
    raise DomainError(Reason.TRAINING_CRASHED, "The recipe finished before it had started.")


def _metrics(step: Step) -> StepMetrics:
    values = asdict(step)
    del values["event"]
    return StepMetrics(**values)
