"""Plans before the start: reckoned by the recipe itself, in a process of its own, from headers and rows."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.bases.sources import fetch_base
from services.common.errors import DomainError, Reason
from services.trainer.jobs.admission import AdmittedJob, JobDraft, admit
from services.trainer.model import Dataset
from services.trainer.recipe.protocol import Event, Failed, Finding, Found, Plan, Planned, RecipeTask
from services.trainer.storage.store import DatasetStore
from services.trainer.support.executor import Executor
from services.trainer.support.threads import in_daemon_thread
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc

AT_ONCE: Final = 1
"""Processes that reckon at the same time; each takes about half a gigabyte, whatever the base."""

MOST_WAITING: Final = 8


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What came of it: a plan, or the finding that rules every plan out."""

    plan: Plan | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Reckons plans.

    Attributes:
        datasets: the rows' records.
        artifacts: where rows are.
        base_models: the registry, for the base.
        executor: what runs the recipe.
        cache_dir: for bases.
        base_roots: below which ``file://`` sources may lie.
        threads: CPU threads that a training here would use; None for the recipe's own choice.
        scratch: where rows lie meanwhile; None for the system's temporary directory.
    """

    datasets: DatasetStore
    artifacts: ArtifactStore
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"  # the class exists in the stubs alone
    executor: Executor
    cache_dir: Path
    base_roots: tuple[Path, ...]
    threads: int | None = None
    scratch: Path | None = None
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _waiting: set[object] = field(default_factory=set)

    async def plan(self, draft: JobDraft) -> Reckoned:
        """Reckon what a job would be.

        Raises:
            DomainError: INVALID_ARGUMENT; BASE_MODEL_NOT_FOUND; DATASET_NOT_FOUND; QUEUE_FULL where too many wait; why the
                base or the rows cannot be read; TRAINING_CRASHED.
        """
        named = draft if draft.adapter else replace(draft, adapter=f"{draft.parent}/adapters/plan")
        admitted = admit(named, new_id="plan")
        if len(self._waiting) >= MOST_WAITING:
            text = f"{MOST_WAITING} plans are being reckoned already. Try again in a few seconds."
            raise DomainError(Reason.QUEUE_FULL, text, retry_after=5.0)
        ticket = object()
        self._waiting.add(ticket)
        try:
            async with self._turn:
                return await self._reckon(admitted)
        finally:
            self._waiting.discard(ticket)

    async def _reckon(self, job: AdmittedJob) -> Reckoned:
        with tempfile.TemporaryDirectory(prefix="plan-", dir=self.scratch) as name:
            directory = Path(name)
            task = await self._task(job, directory)
            async with self.executor.run(task, directory) as events:
                return await _follow(events)

    async def _task(self, job: AdmittedJob, directory: Path) -> RecipeTask:
        request = base_model_pb2.GetBaseModelRequest(name=str(job.base_model))
        base = (await self.base_models.GetBaseModel(request)).base_model
        rows = await self.datasets.get(job.dataset)
        validation = await self.datasets.get(job.validation_dataset) if job.validation_dataset else None
        fetch = partial(fetch_base, tuple(base.sources), cache_dir=self.cache_dir, roots=self.base_roots)
        return RecipeTask(
            base_model=str(job.base_model),
            base_directory=await in_daemon_thread(fetch),
            base_fingerprint_id=base.fingerprint.id,
            dataset_path=await self._fetch(rows, directory / "rows"),
            dataset_format=rows.format,
            validation_path=await self._fetch(validation, directory / "validation") if validation else None,
            validation_format=validation.format if validation else None,
            validation_fraction=job.validation_fraction,
            output_directory=directory / "output",
            hyperparameters=job.hyperparameters,
            threads=self.threads,
            plan_only=True,
        )

    async def _fetch(self, dataset: Dataset, path: Path) -> Path:
        await in_daemon_thread(partial(self.artifacts.fetch, dataset.name.project, dataset.sha256, path))
        return path


async def _follow(events: AsyncIterator[Event]) -> Reckoned:
    found: list[Finding] = []
    async for event in events:
        match event:
            case Planned():
                return Reckoned(event.plan, event.plan.findings)
            case Found():
                found.append(event.finding)
            case Failed() if found:
                return Reckoned(None, tuple(found))
            case Failed():
                raise DomainError(event.reason, event.message, event.metadata)
    raise DomainError(Reason.TRAINING_CRASHED, "The process that reckons plans ended without one.")
