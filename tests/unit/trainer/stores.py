"""A job in memory, and a store whose answers get lost."""

from dataclasses import dataclass, field

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, BaseModelName, DatasetName, TrainingJobName
from services.trainer.datasets import DatasetFormat, Statistics
from services.trainer.jobs.queue import JobQueue
from services.trainer.jobs.rules import Rule
from services.trainer.model import Claim, Dataset, TrainingJob
from services.trainer.storage.memory import MemoryJobStore, MemoryStore

ROWS = Dataset(
    name=DatasetName("default", "rows"),
    display_name="rows.jsonl",
    format=DatasetFormat.ALPACA,
    size=1,
    sha256="ab" * 32,
    statistics=Statistics(row_count=1),
)


async def confirm() -> None:
    """Confirm."""


async def queued(store: MemoryStore, job_id: str = "one") -> TrainingJob:
    await store.datasets.add(ROWS, confirm)
    job = TrainingJob(
        name=TrainingJobName("default", job_id),
        base_model=BaseModelName("tiny"),
        base_fingerprint_id="cd" * 32,
        dataset=ROWS.name,
        validation_dataset=None,
        adapter=AdapterName("default", "wukong"),
    )
    return await store.jobs.create(job)


async def claimed(store: MemoryStore) -> tuple[JobQueue, Claim]:
    await queued(store)
    queue = JobQueue(store.jobs, store.datasets, lease_seconds=60, max_losses=3)
    claim = await queue.claim("worker")
    assert claim is not None
    return queue, claim


@dataclass
class Forgetful(MemoryJobStore):
    """Does what it is told, then loses the answer, so many times."""

    memory: MemoryStore
    losses: int
    calls: int = field(default=0)

    def __post_init__(self) -> None:
        super().__init__(self.memory)
        self.memory.jobs = self

    async def change(self, name: TrainingJobName, rule: Rule) -> TrainingJob:
        changed = await super().change(name, rule)
        self.calls += 1
        if self.calls <= self.losses:
            raise DomainError(Reason.DATABASE_UNAVAILABLE, "The connection broke.", retry_after=1)
        return changed
