"""The use cases that need a base: what its tokenizer and template make of a data set."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import BaseModelName, DatasetName
from services.trainer.catalog.examiner import Examiner, Rows
from services.trainer.catalog.stored import lost
from services.trainer.datasets import UNLIMITED
from services.trainer.datasets.tokens import TokenStatistics
from services.trainer.model import Dataset
from services.trainer.recipe.labelling.examination import Preview, Window
from services.trainer.storage.store import Store
from services.trainer.support.threads import in_daemon_thread

USUAL_ROWS: Final = 5
MOST_ROWS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetExaminations:
    """What callers can learn of a stored data set before they train on it.

    Attributes:
        store: where data sets are kept.
        artifacts: where their bytes are kept.
        examiner: tokenises.
        directory: where bytes lie meanwhile; None is the system's temporary directory.
    """

    store: Store
    artifacts: ArtifactStore
    examiner: Examiner
    directory: Path | None = None

    async def measure(
        self, name: DatasetName, base_model: BaseModelName, max_sequence_length: int | None
    ) -> tuple[Dataset, TokenStatistics]:
        """Count a data set's tokens.

        Raises:
            DomainError: DATASET_NOT_FOUND; BASE_MODEL_NOT_FOUND; INVALID_ARGUMENT; ARTIFACT_CORRUPT; those of ``Examiner``.
        """
        dataset = await self.store.datasets.get(name)
        measure = await self.examiner.measure_for(base_model, max_sequence_length)
        async with self._rows(dataset) as rows:
            return dataset, await self.examiner.count(rows, measure)

    async def preview(
        self, name: DatasetName, base_model: BaseModelName, max_sequence_length: int | None, *, skip: int, limit: int
    ) -> Preview:
        """Show some rows of a data set.

        Args:
            name: the data set.
            base_model: the base.
            max_sequence_length: tokens that rows are cut to, or None for what training would choose.
            skip: rows passed over.
            limit: most rows; 0 means USUAL_ROWS, above MOST_ROWS means that.

        Raises:
            DomainError: as ``measure``.
        """
        _check_not_negative("skip", skip)
        _check_not_negative("limit", limit)
        dataset = await self.store.datasets.get(name)
        measure = await self.examiner.measure_for(base_model, max_sequence_length)
        async with self._rows(dataset) as rows:
            return await self.examiner.show(rows, measure, Window(skip=skip, limit=min(limit or USUAL_ROWS, MOST_ROWS)))

    @asynccontextmanager
    async def _rows(self, dataset: Dataset) -> AsyncIterator[Rows]:
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="tenon-rows-", dir=self.directory)
        try:
            path = Path(folder.name) / "rows"
            fetch = partial(self.artifacts.fetch, dataset.name.project, dataset.sha256, path)
            try:
                await in_daemon_thread(fetch)
            except DomainError as error:
                gone = error.reason in {Reason.ARTIFACT_NOT_FOUND, Reason.ARTIFACT_CORRUPT}
                raise lost(dataset.name) if gone else error from None
            yield Rows(path, dataset.format, dataset.statistics.row_count, UNLIMITED)
        finally:
            await asyncio.to_thread(folder.cleanup)


def _check_not_negative(field: str, value: int) -> None:
    if value < 0:
        text = f"it is {value}; it must be at least 0"
        raise DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])
