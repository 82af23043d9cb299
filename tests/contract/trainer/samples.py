"""Data sets and jobs to put into a store."""

import secrets

from services.common.resource_names import AdapterName, BaseModelName, DatasetName, TrainingJobName
from services.trainer.datasets import DatasetFormat, Statistics
from services.trainer.jobs.queue import JobQueue
from services.trainer.model import Dataset, Hyperparameters, TrainingJob
from services.trainer.recipe.protocol import Schedule
from services.trainer.storage.store import Store

SHA256 = "ab" * 32
PROJECT = "default"


async def nothing() -> None:
    """Confirm whatever is asked."""


def dataset(dataset_id: str = "rows", *, project: str = PROJECT, sha256: str = SHA256) -> Dataset:
    return Dataset(
        name=DatasetName(project, dataset_id),
        display_name="rows.jsonl",
        format=DatasetFormat.ALPACA,
        size=1234,
        sha256=sha256,
        statistics=Statistics(
            row_count=12, answer_count=12, answer_characters=300, duplicate_row_count=1, synthetic_row_count=4
        ),
    )


def job(
    job_id: str = "", *, project: str = PROJECT, dataset_id: str = "rows", validation: str = "", priority: int = -7
) -> TrainingJob:
    return TrainingJob(
        name=TrainingJobName(project, job_id or f"job-{secrets.token_hex(4)}"),
        base_model=BaseModelName("tiny"),
        base_fingerprint_id="cd" * 32,
        dataset=DatasetName(project, dataset_id),
        validation_dataset=DatasetName(project, validation) if validation else None,
        adapter=AdapterName(project, "wukong"),
        hyperparameters=Hyperparameters(epochs=2, learning_rate=1e-3, schedule=Schedule.COSINE, target_modules=("q",)),
        labels={"team": "悟空"},
        validation_fraction=None if validation else 0.25,
        priority=priority,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


async def queued(store: Store, job_id: str = "") -> TrainingJob:
    """Put a data set, if there is none, and a job into the store."""
    if not await store.datasets.page(PROJECT, before=None, limit=1):
        await store.datasets.add(dataset(), nothing)
    return await store.jobs.create(job(job_id))


def queue(
    store: Store, *, lease_seconds: float = 60.0, max_losses: int = 3, project_limit: int | None = None
) -> JobQueue:
    return JobQueue(store.jobs, store.datasets, lease_seconds, max_losses, project_limit)
