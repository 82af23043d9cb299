"""Files on their way in: written to disk within a limit, hashed, and checked row by row."""

import asyncio
import hashlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason, Violation
from services.trainer.datasets import DatasetFormat, Fault, Limits, Summary, check_dataset

FAULTS_TOLD: Final = 20
"""Faults that a refusal lists; ``CheckDataset`` streams all of them."""

FAULTS_AT_ONCE: Final = 100
"""Faults in one message of ``CheckDataset``."""

_MAX_REASON: Final = 300
"""Characters of a fault's text."""

_TOLD_BYTES: Final = 3500
"""Bytes of listed faults: with the rest of the error, and in base64, they must fit the 8 KiB that trailers may have."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived.

    Attributes:
        path: where it lies until the upload is over.
        size: bytes.
        sha256: of the bytes.
    """

    path: Path
    size: int
    sha256: str


@asynccontextmanager
async def receive(chunks: AsyncIterator[bytes], *, directory: Path | None, max_bytes: int) -> AsyncIterator[Upload]:
    """Write what arrives to a file that is gone when the block ends.

    Args:
        chunks: the bytes.
        directory: where to put the file; None is the system's temporary directory.
        max_bytes: how many are accepted.

    Raises:
        DomainError: LIMIT_EXCEEDED; ARTIFACT_STORE_FULL where the disk is full.
    """
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="tenon-upload-", dir=directory)
    try:
        yield await _write(chunks, Path(folder.name) / "upload", max_bytes)
    finally:
        await asyncio.to_thread(folder.cleanup)


async def _write(chunks: AsyncIterator[bytes], path: Path, max_bytes: int) -> Upload:
    sha256, size = hashlib.sha256(), 0
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                text = f"The file is larger than the {max_bytes} bytes that are accepted. Split it into several."
                raise DomainError(Reason.LIMIT_EXCEEDED, text, {"limit": str(max_bytes)})
            sha256.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        text = f"The upload cannot be written to this server's disk: {error.strerror}."
        raise DomainError(Reason.ARTIFACT_STORE_FULL, text) from error
    finally:
        await asyncio.to_thread(file.close)
    return Upload(path, size, sha256.hexdigest())


async def check(
    path: Path,
    row_format: DatasetFormat | None,
    limits: Limits,
) -> AsyncIterator[Sequence[Fault] | Summary]:
    """Yield the faults of a file, some at a time, and last a Summary.

    Raises:
        DomainError: LIMIT_EXCEEDED: a row is too long.
    """
    found = check_dataset(path, row_format, limits)
    while items := await asyncio.to_thread(_take, found):
        faults = [item for item in items if isinstance(item, Fault)]
        if faults:
            yield faults
        for item in items:
            if isinstance(item, Summary):
                yield item


async def require_faultless(
    path: Path,
    row_format: DatasetFormat | None,
    limits: Limits,
) -> Summary:
    """Check a file and return its Summary.

    Raises:
        DomainError: DATASET_INVALID with the first faults; DATASET_EMPTY; LIMIT_EXCEEDED: a row is too long.
    """
    first: list[Fault] = []
    async for item in check(path, row_format, limits):
        if isinstance(item, Summary):
            _require(item, first)
            return item
        first.extend(item[: FAULTS_TOLD - len(first)])
    raise DomainError(Reason.INTERNAL, "The check of a data set ended without a summary.")


def _take(found: Iterator[Fault | Summary]) -> list[Fault | Summary]:
    return list(itertools.islice(found, FAULTS_AT_ONCE))


def _require(summary: Summary, first: Sequence[Fault]) -> None:
    if summary.is_empty:
        raise DomainError(Reason.DATASET_EMPTY, "The file holds no row. Put one example on each line.")
    if summary.fault_count:
        raise _invalid(summary, first)


def _invalid(summary: Summary, first: Sequence[Fault]) -> DomainError:
    violations = _violations(first)
    rows = summary.statistics.row_count + summary.statistics.faulty_row_count
    told = f"{violations[0].field}: {violations[0].description}" if violations else ""
    text = f"The data set has {summary.fault_count} faults in {rows} rows; nothing was stored. The first one: {told}"
    return DomainError(Reason.DATASET_INVALID, text, {"faults": str(summary.fault_count)}, violations=violations)


def _violations(faults: Sequence[Fault]) -> list[Violation]:
    violations: list[Violation] = []
    left = _TOLD_BYTES
    for fault in faults:
        place = f"line {fault.line}, {fault.field[:_MAX_REASON]}" if fault.field else f"line {fault.line}"
        violation = Violation(place, _cut(fault.reason))
        left -= len(place.encode()) + len(violation.description.encode())
        if left < 0 and violations:
            break
        violations.append(violation)
    return violations


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"
