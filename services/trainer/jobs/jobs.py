"""The use cases of training jobs, but for following one (see ``watch``)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from opentelemetry import propagate

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.paging import page_limit
from services.common.resource_names import TrainingJobName
from services.common.training_report import TrainingReport
from services.trainer.jobs import rules
from services.trainer.jobs.admission import AdmittedJob, JobDraft, admit, check_sequence_length
from services.trainer.model import JobCheckpoint, JobEvent, JobFilter, TrainingJob
from services.trainer.recipe.planning.plan import from_counts, refusal
from services.trainer.recipe.protocol import Severity
from services.trainer.servicers.once import M, Once
from services.trainer.storage.store import Store
from services.trainer.support.pages import next_token, read_position
from services.trainer.support.threads import in_daemon_thread
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc

MAX_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Jobs:
    """What callers can do with training jobs.

    Attributes:
        store: where they are kept.
        artifacts: where their checkpoints are.
        base_models: the registry.
    """

    store: Store
    artifacts: ArtifactStore
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"  # the class exists in the stubs alone

    async def create(self, draft: JobDraft, once: Once[TrainingJob, M]) -> M:
        """Queue a job.

        Raises:
            DomainError: INVALID_ARGUMENT; BASE_MODEL_NOT_FOUND; DATASET_NOT_FOUND; TRAINING_JOB_EXISTS; PLAN_HOPELESS
                where that follows from the number of rows; SERVICE_UNAVAILABLE where the registry does not answer;
                REQUEST_ID_REUSED.
        """
        job = await self._admitted(draft)
        async with self.store.transaction() as transaction:
            return await once.answer(transaction.requests, lambda: transaction.jobs.create(job))

    async def _admitted(self, draft: JobDraft) -> TrainingJob:
        admitted = admit(draft, new_id="job-" + secrets.token_hex(8))
        request = base_model_pb2.GetBaseModelRequest(
            name=str(admitted.base_model), view=base_model_pb2.BASE_MODEL_VIEW_FULL
        )
        base = (await self.base_models.GetBaseModel(request)).base_model
        check_sequence_length(admitted.hyperparameters, admitted.base_model, base.fingerprint.document)
        if not draft.force:
            await self._check_counts(admitted)
        return TrainingJob(
            name=admitted.name,
            base_model=admitted.base_model,
            base_fingerprint_id=base.fingerprint.id,
            dataset=admitted.dataset,
            validation_dataset=admitted.validation_dataset,
            adapter=admitted.adapter,
            hyperparameters=admitted.hyperparameters,
            labels=admitted.labels,
            validation_fraction=admitted.validation_fraction,
            priority=admitted.priority,
            force=draft.force,
            traceparent=_current_traceparent(),
        )

    async def _check_counts(self, job: AdmittedJob) -> None:
        """Refuse what the number of rows rules out already; the recipe looks at the rest."""
        try:
            rows = (await self.store.datasets.get(job.dataset)).statistics.row_count
        except DomainError as error:
            if error.reason is not Reason.DATASET_NOT_FOUND:
                raise
            return  # The job may be there already, under this request id; else the store says so.
        found = from_counts(rows, job.hyperparameters)
        if hopeless := [finding for finding in found if finding.severity is Severity.HOPELESS]:
            raise refusal(hopeless)

    async def report(self, name: TrainingJobName) -> TrainingReport:
        """Return what a job's training has taught.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; TRAINING_REPORT_NOT_FOUND.
        """
        kept = await self.store.jobs.manifest(name)
        report = None if kept is None else AdapterManifest.from_bytes(kept).report
        if report is None:
            text = f"{name} has no training report: it has not ended, or did not get as far as one. See its events."
            raise DomainError(Reason.TRAINING_REPORT_NOT_FOUND, text, {"training_job": str(name)})
        return report

    async def get(self, name: TrainingJobName) -> TrainingJob:
        """Return a job.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND.
        """
        return await self.store.jobs.get(name)

    async def page(self, chosen: JobFilter, page_size: int, page_token: str) -> tuple[Sequence[TrainingJob], str]:
        """Return some jobs, newest first, and the token of the next page.

        Raises:
            DomainError: INVALID_ARGUMENT.
        """
        limit, scope = page_limit(page_size), f"trainingJobs, {chosen}"
        before = read_position(page_token, scope)
        found = await self.store.jobs.page(chosen, before=before, limit=limit + 1)
        return found[:limit], next_token([job.position for job in found], limit, scope)

    async def cancel(self, name: TrainingJobName, once: Once[TrainingJob, M]) -> M:
        """Ask for a job to stop; one that has ended stays as it is.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; REQUEST_ID_REUSED.
        """
        async with self.store.transaction() as transaction:
            return await once.answer(transaction.requests, lambda: transaction.jobs.change(name, rules.cancel))

    async def pause(self, name: TrainingJobName, once: Once[TrainingJob, M]) -> M:
        """Ask for a job to let go of its worker; one that is paused or about to be stays as it is.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; TRAINING_JOB_WRONG_STATE; REQUEST_ID_REUSED.
        """
        async with self.store.transaction() as transaction:
            return await once.answer(transaction.requests, lambda: transaction.jobs.change(name, rules.pause))

    async def resume(self, name: TrainingJobName, once: Once[TrainingJob, M]) -> M:
        """Let a paused job go on; one that waits or runs stays as it is.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; TRAINING_JOB_WRONG_STATE; REQUEST_ID_REUSED.
        """
        async with self.store.transaction() as transaction:
            return await once.answer(transaction.requests, lambda: transaction.jobs.change(name, rules.resume))

    async def delete(self, name: TrainingJobName, once: Once[None, M]) -> M:
        """Forget a job that has ended, with its events, report and checkpoints; the version it made stays.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; TRAINING_JOB_WRONG_STATE; REQUEST_ID_REUSED; ARTIFACT_STORE_UNAVAILABLE.
        """

        async def discard(sha256: str) -> None:
            await in_daemon_thread(partial(self.artifacts.delete, name.project, sha256))

        async with self.store.transaction() as transaction:
            return await once.answer(transaction.requests, lambda: transaction.jobs.remove(name, discard))

    async def checkpoints(
        self, name: TrainingJobName, page_size: int, page_token: str
    ) -> tuple[Sequence[JobCheckpoint], str]:
        """Return some of the checkpoints that a job has kept, newest first, and the token of the next page.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; INVALID_ARGUMENT.
        """
        limit, scope = page_limit(page_size), f"checkpoints of {name}"
        before = read_position(page_token, scope)
        await self.store.jobs.get(name)
        found = await self.store.jobs.checkpoints(name, before=before, limit=limit + 1)
        return found[:limit], next_token([checkpoint.number for checkpoint in found], limit, scope)

    async def events(
        self, name: TrainingJobName, page_size: int, page_token: str, *, descending: bool
    ) -> tuple[Sequence[JobEvent], str]:
        """Return some of a job's events, and the token of the next page.

        Raises:
            DomainError: TRAINING_JOB_NOT_FOUND; INVALID_ARGUMENT.
        """
        limit, scope = page_limit(page_size, maximum=MAX_EVENTS), f"events of {name}, descending: {descending}"
        after = read_position(page_token, scope) or 0
        await self.store.jobs.get(name)
        found = await self.store.jobs.events(name, after=after, limit=limit + 1, descending=descending)
        return found[:limit], next_token([event.sequence for event in found], limit, scope)


def _current_traceparent() -> str:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")
