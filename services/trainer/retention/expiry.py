"""Letting go of what is older than the settings say: events of jobs that have ended, and data sets that nobody uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.common.errors import DomainError, Reason
from services.trainer.catalog.dataset_catalog import DatasetCatalog
from services.trainer.storage.store import Store

AT_ONCE: Final = 1000
DAY_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Removes what is too old.

    Attributes:
        store: where jobs and data sets are kept.
        catalog: deletes data sets, with their bytes.
        event_days: age in days from which the events of a job that has ended go; None keeps them.
        dataset_days: age in days, since its upload or its last job's end, from which a data set goes; None keeps them.
    """

    store: Store
    catalog: DatasetCatalog
    event_days: float | None
    dataset_days: float | None

    async def expire(self) -> Mapping[str, int]:
        """Remove what is too old now, and say how much that was.

        Raises:
            DomainError: DATABASE_UNAVAILABLE; ARTIFACT_STORE_UNAVAILABLE.
        """
        return {"events": await self._events(), "datasets": await self._datasets()}

    async def _events(self) -> int:
        if self.event_days is None:
            return 0
        total = count = await self.store.jobs.forget_events(self.event_days * DAY_SECONDS, AT_ONCE)
        while count == AT_ONCE:
            count = await self.store.jobs.forget_events(self.event_days * DAY_SECONDS, AT_ONCE)
            total += count
        return total

    async def _datasets(self) -> int:
        if self.dataset_days is None:
            return 0
        count = 0
        for name in await self.store.datasets.unused(self.dataset_days * DAY_SECONDS, AT_ONCE):
            try:
                await self.catalog.forget(name)
            except DomainError as error:
                # Somebody deleted it, or began to train on it.
                if error.reason not in {Reason.DATASET_NOT_FOUND, Reason.DATASET_IN_USE}:
                    raise
            else:
                count += 1
        return count
