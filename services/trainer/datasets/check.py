"""The two ways a data set is read: to be judged, and to be learnt."""

import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from services.common.errors import DomainError, Reason
from services.trainer.datasets.distinct import DistinctCounter
from services.trainer.datasets.formats import FORMATS, LAYOUT_OF, LAYOUTS, TITLES, detect, marks
from services.trainer.datasets.formats.fields import RowFields
from services.trainer.datasets.model import DatasetFormat, Fault, Limits, Statistics, Summary, TextPair
from services.trainer.datasets.parquet import MAGIC, parquet_rows
from services.trainer.datasets.parse import parse_row, quote
from services.trainer.datasets.rows import RawRow, split_rows
from services.trainer.datasets.split import Example, content_hash

DETECTION_ROWS: Final = 8
"""Rows looked at to tell the format; the most frequent one counts, so that one odd row does not make all others wrong."""

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
    reader = _Reader(format, limits)
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
    for row in _Reader(format, UNLIMITED).rows(path):
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
    for row in _Reader(format, limits).rows(path):
        if row.example is not None:
            yield row.number, row.example


class _ReadRow(NamedTuple):
    """What became of one row, or, with number 0, of the file: an example, or faults."""

    number: int
    example: Example | None
    faults: Sequence[Fault] = ()


class _Reader:
    """Reads rows in one format, which it finds out itself where it was not given."""

    def __init__(self, layout: DatasetFormat | None, limits: Limits) -> None:
        self.layout = layout
        self._limits = limits

    def rows(self, path: Path) -> Iterator[_ReadRow]:
        with closing(_raw_rows(path, self._limits)) as raw:
            rows: Iterator[RawRow | Fault] = raw
            if self.layout is None:
                head = list(islice(rows, DETECTION_ROWS))
                self.layout = _most_frequent(head)
                rows = chain(head, rows)
            yield from self._in_layout(rows, self.layout) if self.layout else self._in_none(rows)

    def _in_none(self, rows: Iterator[RawRow | Fault]) -> Iterator[_ReadRow]:
        """Read rows up to the first that tells the format."""
        for row in rows:
            if isinstance(row, Fault):
                yield _ReadRow(row.row, None, (row,))
                continue
            value = parse_row(row)
            if isinstance(value, Fault):
                yield _ReadRow(row.row, None, (value,))
                continue
            self.layout = detect(value)
            if self.layout:
                yield from self._in_layout(chain([row], rows), self.layout)
                return
            yield _refused(row, _foreign(value, None))

    def _in_layout(self, rows: Iterator[RawRow | Fault], layout: DatasetFormat) -> Iterator[_ReadRow]:
        read, known, most = FORMATS[layout], marks(layout), self._limits.max_messages
        for row in rows:
            if isinstance(row, Fault):
                yield _ReadRow(row.row, None, (row,))
                continue
            value = parse_row(row)
            if isinstance(value, Fault):
                yield _ReadRow(row.row, None, (value,))
            elif known.isdisjoint(value):
                yield _refused(row, _foreign(value, layout))
            else:
                fields = RowFields(value, most, has_escapes=b"\\u" in row.data)
                example = read(fields)
                faults = [Fault(row.line, row.row, path, why) for path, why in fields.faults]
                yield _ReadRow(row.row, None if faults else example, faults)


def _raw_rows(path: Path, limits: Limits) -> Generator[RawRow | Fault, None, None]:
    with path.open("rb") as file:
        is_parquet = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        yield from parquet_rows(path, limits) if is_parquet else split_rows(file, limits.max_row_bytes)


def _refused(row: RawRow, why: str) -> _ReadRow:
    return _ReadRow(row.row, None, (Fault(row.line, row.row, "", why),))


def _most_frequent(head: Sequence[RawRow | Fault]) -> DatasetFormat | None:
    parsed = [parse_row(row) for row in head if not isinstance(row, Fault)]
    found = Counter(detect(row) for row in parsed if not isinstance(row, Fault))
    del found[None]
    return found.most_common(1)[0][0] if found else None


class _Tally:
    """Counts while rows go by."""

    def __init__(self, contents: DistinctCounter) -> None:
        self._rows = self._faulty = self._faults = self._answers = self._characters = 0
        self._contents = contents

    @property
    def is_empty(self) -> bool:
        return self._faults == self._rows == 0

    def add(self, row: _ReadRow) -> None:
        if row.example is not None:
            self._add_example(row.example)
        else:
            self._faults += len(row.faults)
            self._faulty += row.number > 0

    def _add_example(self, example: Example) -> None:
        self._rows += 1
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
        statistics = Statistics(self._rows, self._faulty, duplicates, self._answers, self._characters)
        return Summary(layout, statistics, self._faults)


def _foreign(row: dict[str, Any], layout: DatasetFormat | None) -> str:
    found = detect(row)
    if layout and found:
        return f"The row is in {TITLES[found]} format, the file in {TITLES[layout]}. Keep one format per file."
    keys = ", ".join(quote(key) for key in islice(row, 5)) or "none"
    expected = LAYOUT_OF[layout] if layout else LAYOUTS
    return f"The row's layout is not known; its keys are {keys}. Expected is {expected}."
