"""The two ways a data set is read: to be judged, and to be learnt."""

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.rows.content import Example, content_hash
from services.common.rows.cut import RawRow, split_rows
from services.common.rows.model import DatasetFormat, Fault, Limits, TextPair
from services.common.rows.reader import ReadRow, RowReader
from services.trainer.datasets.distinct import DistinctCounter
from services.trainer.datasets.model import Statistics, Summary
from services.trainer.datasets.parquet import MAGIC, parquet_rows

UNLIMITED: Final = Limits(max_row_bytes=sys.maxsize - 1, max_messages=sys.maxsize, max_unpacked_bytes=sys.maxsize)
"""For files that were checked against the limits before."""


def check_dataset(
    path: Path,
    format: DatasetFormat | None,  # noqa: A002 - the word of the API
    limits: Limits,
) -> Iterator[Fault | Summary]:
    """Read a whole file and tell all that is wrong with it.

    Args:
        path: JSON Lines or one JSON array, in UTF-8 with or without a byte order mark, or a Parquet file.
        format: of its rows, or None to tell it by the first ones.
        limits: what is too much.

    Yields:
        A Fault for everything wrong, as it is found; last a Summary. Unknown keys are no fault, repeated rows neither.

    Raises:
        DomainError: ARTIFACT_STORE_FULL; beside the file there must be room for eight bytes per row. LIMIT_EXCEEDED; a
            Parquet file takes too much once it is unpacked.
    """
    reader = _FileReader(format, limits)
    with DistinctCounter(path.parent) as contents:
        tally = _Tally(contents)
        for row in reader.rows(path):
            yield from row.faults
            tally.add(row)
        if tally.is_empty:
            yield tally.count(Fault(1, 0, "", "The file holds no row."))
        yield tally.summary(reader.layout)


def read_conversations(
    path: Path,
    format: DatasetFormat,  # noqa: A002 - the word of the API
) -> Iterator[Example]:
    """Read the rows of a file that ``check_dataset`` found no fault in.

    Raises:
        DomainError: DATASET_INVALID; a row has a fault after all.
    """
    for row in _FileReader(format, UNLIMITED).rows(path):
        for fault in row.faults:
            place = f"Line {fault.line}, {fault.field}" if fault.field else f"Line {fault.line}"
            raise DomainError(Reason.DATASET_INVALID, f"{place}: {fault.reason}", {"line": str(fault.line)})
        if row.example is not None:
            yield row.example


def good_rows(
    path: Path,
    format: DatasetFormat,  # noqa: A002 - the word of the API
    limits: Limits,
) -> Iterator[tuple[int, Example]]:
    """Yield the rows in which there is no fault, each with its number, from 1."""
    for row in _FileReader(format, limits).rows(path):
        if row.example is not None:
            yield row.number, row.example


class _FileReader:
    """Reads a file, in whatever it is stored."""

    def __init__(self, layout: DatasetFormat | None, limits: Limits) -> None:
        self._reader = RowReader(layout, limits)
        self._limits = limits

    @property
    def layout(self) -> DatasetFormat | None:
        return self._reader.layout

    def rows(self, path: Path) -> Iterator[ReadRow]:
        with closing(_raw_rows(path, self._limits)) as raw:
            yield from self._reader.read(raw)


def _raw_rows(path: Path, limits: Limits) -> Generator[RawRow | Fault, None, None]:
    with path.open("rb") as file:
        is_parquet = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        yield from parquet_rows(path, limits) if is_parquet else split_rows(file, limits.max_row_bytes)


class _Tally:
    """Counts while rows go by."""

    def __init__(self, contents: DistinctCounter) -> None:
        self._rows = self._faulty = self._faults = self._answers = self._characters = self._synthetic = 0
        self._contents = contents

    @property
    def is_empty(self) -> bool:
        return self._faults == self._rows == 0

    def add(self, row: ReadRow) -> None:
        if row.example is not None:
            self._add_example(row.example)
        else:
            self._faults += len(row.faults)
            self._faulty += row.number > 0

    def _add_example(self, example: Example) -> None:
        self._rows += 1
        self._synthetic += example.source is not None
        self._contents.add(content_hash(example))
        if isinstance(example, TextPair):
            self._answers += 1
            self._characters += len(example.completion)
            return
        for message in example.messages:
            if message.supervised:
                self._answers += 1
                self._characters += len(message.content)

    def count(self, fault: Fault) -> Fault:
        self._faults += 1
        return fault

    def summary(self, layout: DatasetFormat | None) -> Summary:
        duplicates = self._contents.total - self._contents.distinct()
        statistics = Statistics(self._rows, self._faulty, duplicates, self._answers, self._characters, self._synthetic)
        return Summary(layout, statistics, self._faults)
