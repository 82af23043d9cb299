"""What keeps a resource from being deleted: whoever depends on it, by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from services.common.auth.guard import EVERY_PROJECT
from services.common.errors import DomainError, Reason
from services.common.resource_names import BaseModelName, ProjectName
from services.registry.model import Found
from services.registry.store import RegistryStore
from tenon.trainer.v1 import dataset_pb2, dataset_pb2_grpc, training_job_pb2, training_job_pb2_grpc

NAMED: Final = 10
"""How many dependants of a kind a refusal names."""

_State = training_job_pb2.TrainingJob
_NOT_ENDED: Final = (
    _State.STATE_QUEUED,
    _State.STATE_RUNNING,
    _State.STATE_CANCELLING,
    _State.STATE_PAUSING,
    _State.STATE_PAUSED,
)


@dataclass(frozen=True, slots=True)
class Dependants:
    """Dependants of one kind.

    Attributes:
        kind: what one of them is called, and several: ``("alias", "aliases")``.
        found: names of some, and how many there are.
        more: whether there may be more than were counted.
    """

    kind: tuple[str, str]
    found: Found[str]
    more: bool = False

    def __str__(self) -> str:
        """``2 aliases (latest, production)``."""
        some, count = self.found.some[:NAMED], self.found.count
        others = ", …" if self.more or count > len(some) else ""
        number = f"more than {count}" if self.more else str(count)
        return f"{number} {self.kind[count != 1 or self.more]} ({', '.join(some)}{others})"


def require_none(resource: str, dependants: Sequence[Dependants], remedy: str) -> None:
    """Refuse to delete what others depend on.

    Args:
        resource: its name.
        dependants: of each kind.
        remedy: a sentence.

    Raises:
        DomainError: RESOURCE_IN_USE, if there is a dependant.
    """
    left = [of_kind for of_kind in dependants if of_kind.found.count]
    if not left:
        return
    names = [name for of_kind in left for name in of_kind.found.some[:NAMED]]
    count = str(sum(of_kind.found.count for of_kind in left))
    text = f"{resource} cannot be deleted: it is needed by {' and '.join(map(str, left))}. {remedy}"
    metadata = {"resource": resource, "dependants": ",".join(names), "count": count}
    raise DomainError(Reason.RESOURCE_IN_USE, text, metadata)


class TrainerDependants(Protocol):
    """What the trainer keeps that depends on what the registry keeps."""

    async def on_base(self, base_model: BaseModelName) -> Sequence[Dependants]:
        """Find the jobs of all projects that train on a base and have not ended.

        Raises:
            DomainError: SERVICE_UNAVAILABLE.
        """

    async def in_project(self, project: ProjectName) -> Sequence[Dependants]:
        """Find the jobs and the data sets of a project.

        Raises:
            DomainError: SERVICE_UNAVAILABLE.
        """


class NoTrainer:
    """A registry without a trainer; see ``TrainerDependants``."""

    async def on_base(self, base_model: BaseModelName) -> Sequence[Dependants]:  # noqa: ARG002 - the interface
        """See ``TrainerDependants``."""
        return ()

    async def in_project(self, project: ProjectName) -> Sequence[Dependants]:  # noqa: ARG002 - the interface
        """See ``TrainerDependants``."""
        return ()


@dataclass(frozen=True, slots=True)
class RemoteTrainer:
    """The trainer, asked by gRPC; see ``TrainerDependants``."""

    jobs: "training_job_pb2_grpc.TrainingJobServiceAsyncStub"  # these classes exist in the stubs alone
    datasets: "dataset_pb2_grpc.DatasetServiceAsyncStub"

    async def on_base(self, base_model: BaseModelName) -> Sequence[Dependants]:
        """See ``TrainerDependants``."""
        request = training_job_pb2.ListTrainingJobsRequest(
            parent=f"projects/{EVERY_PROJECT}", page_size=NAMED, base_model=str(base_model), states=_NOT_ENDED
        )
        return (_jobs(await self.jobs.ListTrainingJobs(request)),)

    async def in_project(self, project: ProjectName) -> Sequence[Dependants]:
        """See ``TrainerDependants``."""
        jobs = training_job_pb2.ListTrainingJobsRequest(parent=str(project), page_size=NAMED)
        datasets = dataset_pb2.ListDatasetsRequest(parent=str(project), page_size=NAMED)
        page = await self.datasets.ListDatasets(datasets)
        names = [dataset.name for dataset in page.datasets]
        found = Dependants(("data set", "data sets"), Found(names, len(names)), more=bool(page.next_page_token))
        return (_jobs(await self.jobs.ListTrainingJobs(jobs)), found)


@dataclass(frozen=True, slots=True)
class ProjectContents:
    """What a project holds, here and in the trainer."""

    store: RegistryStore
    trainer: TrainerDependants

    async def __call__(self, project: ProjectName) -> Sequence[Dependants]:
        """Find adapters, jobs and data sets.

        Raises:
            DomainError: SERVICE_UNAVAILABLE.
        """
        async with self.store.transaction() as transaction:
            adapters = await transaction.list_adapters(project.project, after="", limit=NAMED + 1)
        names = [str(adapter.name) for adapter in adapters[:NAMED]]
        found = Dependants(("adapter", "adapters"), Found(names, len(names)), more=len(adapters) > NAMED)
        return (found, *await self.trainer.in_project(project))


def _jobs(page: training_job_pb2.ListTrainingJobsResponse) -> Dependants:
    names = [job.name for job in page.training_jobs]
    return Dependants(("training job", "training jobs"), Found(names, len(names)), more=bool(page.next_page_token))
