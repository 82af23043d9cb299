"""Plans before the start: reckoned by the recipe itself, in a process of its own, from headers and rows."""

import asyncio
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
from services.trainer.support.turns import Turns, scratch_directory
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc

AT_ONCE: Final = 1
"""Processes that reckon at the same time; each takes about half a gigabyte, whatever the base."""

MOST_WAITING: Final = 8
PLAN_SECONDS: Final = 300.0
"""A base that has to be fetched first may take most of it."""


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
        seconds: how long reckoning may take, once it is a plan's turn.
    """

    datasets: DatasetStore
    artifacts: ArtifactStore
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"  # the class exists in the stubs alone
    executor: Executor
    cache_dir: Path
    base_roots: tuple[Path, ...]
    threads: int | None = None
    scratch: Path | None = None
    seconds: float = PLAN_SECONDS
    _turns: Turns = field(
        default_factory=lambda: Turns(at_once=AT_ONCE, most_waiting=MOST_WAITING, work="plans to be reckoned")
    )

    async def plan(self, draft: JobDraft) -> Reckoned:
        """Reckon what a job would be.

        Raises:
            DomainError: INVALID_ARGUMENT; BASE_MODEL_NOT_FOUND; DATASET_NOT_FOUND; QUEUE_FULL where too many wait; DEADLINE_EXCEEDED; why the
                base or the rows cannot be read; TRAINING_CRASHED.
        """
        named = draft if draft.adapter else replace(draft, adapter=f"{draft.parent}/adapters/plan")
        admitted = admit(named, new_id="plan")
        async with self._turns.turn():
            try:
                async with asyncio.timeout(self.seconds):
                    return await self._reckon(admitted)
            except TimeoutError:
                text = f"Reckoning took more than {self.seconds:g} seconds. Give fewer rows, or create the job without a plan."
                raise DomainError(Reason.DEADLINE_EXCEEDED, text) from None

    async def _reckon(self, job: AdmittedJob) -> Reckoned:
        async with scratch_directory("plan-", self.scratch) as directory:
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
