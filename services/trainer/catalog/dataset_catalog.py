"""The use cases of data sets."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason, Violation
from services.common.paging import page_limit
from services.common.resource_names import BaseModelName, DatasetName, ProjectName
from services.trainer.catalog.examiner import Examiner, Measure, Rows
from services.trainer.catalog.stored import lost, stored_bytes
from services.trainer.catalog.uploads import Upload, check, receive, require_faultless
from services.trainer.datasets import DatasetFormat, Fault, Limits, Summary
from services.trainer.datasets.tokens import TokenStatistics
from services.trainer.model import Dataset
from services.trainer.servicers.once import M, Once
from services.trainer.storage.store import Store
from services.trainer.support.pages import next_token, read_position

MAX_DISPLAY_NAME: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSpec:
    """What a caller says of the bytes to come.

    Attributes:
        parent: project they belong to.
        display_name: the file's name.
        format: its format, or None to detect it.
    """

    parent: ProjectName
    display_name: str
    format: DatasetFormat | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """How bytes to come are checked.

    Attributes:
        format: their format, or None to detect it.
        base_model: what to measure their rows with, or None.
        max_sequence_length: tokens that rows are cut to, or None for what training would choose.
    """

    format: DatasetFormat | None
    base_model: BaseModelName | None = None
    max_sequence_length: int | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The end of a check.

    Attributes:
        summary: format and counts.
        tokens: what the base makes of the good rows; None without a base or a good row.
    """

    summary: Summary
    tokens: TokenStatistics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCatalog:
    """What callers can do with data sets.

    Attributes:
        store: where they are kept.
        artifacts: where their bytes are kept.
        limits: how much of a row is accepted.
        max_bytes: how much of a file is accepted.
        examiner: tokenises rows for a base.
        upload_dir: where uploads lie while they are checked; None is the system's temporary directory.
    """

    store: Store
    artifacts: ArtifactStore
    limits: Limits
    max_bytes: int
    examiner: Examiner
    upload_dir: Path | None = None

    async def upload(self, spec: UploadSpec, chunks: AsyncIterator[bytes], once: Once[Dataset, M]) -> M:
        """Store a file in which no row has a fault.

        Raises:
            DomainError: INVALID_ARGUMENT; DATASET_INVALID; DATASET_EMPTY; LIMIT_EXCEEDED; ARTIFACT_STORE_UNAVAILABLE;
                ARTIFACT_STORE_FULL; REQUEST_ID_REUSED.
        """
        _check_display_name(spec.display_name)
        async with receive(chunks, directory=self.upload_dir, max_bytes=self.max_bytes) as upload:
            summary = await require_faultless(upload.path, spec.format, self.limits)
            return await self._keep(spec, upload, summary, once.of_content(upload.sha256))

    async def check(self, spec: CheckSpec, chunks: AsyncIterator[bytes]) -> AsyncIterator[Sequence[Fault] | Checked]:
        """Yield the faults of a file, some at a time, and last what was counted; nothing is stored.

        Raises:
            DomainError: LIMIT_EXCEEDED. With a base BASE_MODEL_NOT_FOUND and INVALID_ARGUMENT, before anything is read, and
                those of ``Examiner``.
        """
        length = spec.max_sequence_length
        measure = await self.examiner.measure_for(spec.base_model, length) if spec.base_model else None
        async with receive(chunks, directory=self.upload_dir, max_bytes=self.max_bytes) as upload:
            async for item in check(upload.path, spec.format, self.limits):
                yield await self._measured(upload.path, item, measure) if isinstance(item, Summary) else item

    async def _measured(self, path: Path, summary: Summary, measure: Measure | None) -> Checked:
        count = summary.statistics.row_count
        if measure is None or summary.format is None or not count:
            return Checked(summary, None)
        return Checked(summary, await self.examiner.count(Rows(path, summary.format, count, self.limits), measure))

    async def get(self, name: DatasetName) -> Dataset:
        """Return a data set.

        Raises:
            DomainError: DATASET_NOT_FOUND.
        """
        return await self.store.datasets.get(name)

    async def page(self, parent: ProjectName, page_size: int, page_token: str) -> tuple[Sequence[Dataset], str]:
        """Return some of a project's data sets, newest first, and the token of the next page.

        Raises:
            DomainError: INVALID_ARGUMENT.
        """
        limit, scope = page_limit(page_size), f"datasets of {parent}"
        before = read_position(page_token, scope)
        found = await self.store.datasets.page(parent.project, before=before, limit=limit + 1)
        return found[:limit], next_token([dataset.position for dataset in found], limit, scope)

    async def download(self, name: DatasetName) -> AsyncIterator[bytes]:
        """Yield a data set's bytes; where they turn out not to be what was uploaded, the end is an error.

        Raises:
            DomainError: DATASET_NOT_FOUND; ARTIFACT_CORRUPT.
        """
        dataset = await self.store.datasets.get(name)
        try:
            async for chunk in stored_bytes(self.artifacts, name.project, dataset.sha256):
                yield chunk
        except DomainError as error:
            gone = error.reason in {Reason.ARTIFACT_NOT_FOUND, Reason.ARTIFACT_CORRUPT}
            raise lost(name) if gone else error from None

    async def delete(self, name: DatasetName, once: Once[None, M]) -> M:
        """Forget a data set, and its bytes where no other data set of the project has the same.

        Raises:
            DomainError: DATASET_NOT_FOUND; DATASET_IN_USE; REQUEST_ID_REUSED.
        """
        removed: list[Dataset] = []

        async def remove() -> None:
            removed.append(await transaction.datasets.remove(name))

        async with self.store.transaction() as transaction:
            answer = await once.answer(transaction.requests, remove)
        # Only now that it is certain: a blob without a data set wastes space, a data set without its blob is lost.
        for dataset in removed:
            await self._discard_if_unneeded(name.project, dataset.sha256)
        return answer

    async def forget(self, name: DatasetName) -> None:
        """Forget a data set as ``delete`` does, because of its age and not because of a call.

        Raises:
            DomainError: DATASET_NOT_FOUND; DATASET_IN_USE.
        """
        removed = await self.store.datasets.remove(name)
        await self._discard_if_unneeded(name.project, removed.sha256)

    async def _keep(self, spec: UploadSpec, upload: Upload, summary: Summary, once: Once[Dataset, M]) -> M:
        dataset = _described(spec, upload, summary)
        project = spec.parent.project

        async def confirm() -> None:
            # Again, where a deletion of the same content came between.
            await asyncio.to_thread(_put_if_missing, self.artifacts, project, upload)

        await confirm()
        async with self.store.transaction() as transaction:
            answer = await once.answer(transaction.requests, lambda: transaction.datasets.add(dataset, confirm))
        # A repeated call may have answered with a data set that was deleted since.
        await self._discard_if_unneeded(project, upload.sha256)
        return answer

    async def _discard_if_unneeded(self, project: str, sha256: str) -> None:
        async def discard() -> None:
            await asyncio.to_thread(self.artifacts.delete, project, sha256)

        await self.store.blobs.if_unneeded(project, sha256, discard)


def _described(spec: UploadSpec, upload: Upload, summary: Summary) -> Dataset:
    if summary.format is None:
        text = "No row tells which format the file has; name the format in the upload."
        raise DomainError(Reason.DATASET_INVALID, text, {"faults": "0"})
    return Dataset(
        name=DatasetName(spec.parent.project, "data-" + secrets.token_hex(8)),
        display_name=spec.display_name,
        format=summary.format,
        size=upload.size,
        sha256=upload.sha256,
        statistics=summary.statistics,
    )


def _put_if_missing(artifacts: ArtifactStore, project: str, upload: Upload) -> None:
    try:
        artifacts.stat(project, upload.sha256)
    except DomainError as error:
        if error.reason is not Reason.ARTIFACT_NOT_FOUND:
            raise
        artifacts.put_file(project, upload.path)


def _check_display_name(name: str) -> None:
    if len(name) > MAX_DISPLAY_NAME or not name.isprintable():
        text = f"it must be at most {MAX_DISPLAY_NAME} printable characters"
        message = f"display_name is not valid: {text}."
        raise DomainError(Reason.INVALID_ARGUMENT, message, violations=[Violation("spec.display_name", text)])
