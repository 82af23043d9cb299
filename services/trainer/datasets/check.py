"""The two ways a data set is read: to be judged, and to be learnt."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.trainer.datasets.formats import FORMATS, TITLES, detect, has_marks
from services.trainer.datasets.formats.fields import RowFields
from services.trainer.datasets.model import Conversation, DatasetFormat, Fault, Limits, Statistics, Summary, TextPair
from services.trainer.datasets.parse import parse_row, quote
from services.trainer.datasets.rows import RawRow, split_rows

DETECTION_ROWS: Final = 8
"""Rows looked at to tell the format; the most frequent one counts, so that one odd row does not make all others wrong."""

DUPLICATE_WINDOW: Final = 1_000_000
"""Duplicates are looked for among this many different rows, to bound memory."""

UNLIMITED: Final = Limits(max_row_bytes=sys.maxsize - 1, max_messages=sys.maxsize)
"""For files that were checked against the limits before."""

Example = Conversation | TextPair


def check_dataset(
    path: Path,
    format: DatasetFormat | None,  # noqa: A002 - the word of the API
    limits: Limits,
) -> Iterator[Fault | Summary]:
    """Read a whole file and tell all that is wrong with it.

    Args:
        path: a JSON Lines file or one JSON array, UTF-8, with or without a byte order mark.
        format: of its rows, or None to tell it by the first ones.
        limits: what is too much.

    Yields:
        A Fault for everything wrong, as it is found; last a Summary. Unknown keys are no fault, repeated rows neither.
    """
    reader = _Reader(format, limits)
    tally = _Tally()
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


@dataclass(frozen=True, slots=True)
class _ParsedRow:
    line: int
    row: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _ReadRow:
    """What became of one row, or, with number 0, of the file: an example, or faults."""

    number: int
    example: Example | None
    faults: tuple[Fault, ...]


class _Reader:
    """Reads rows in one format, which it finds out itself where it was not given."""

    def __init__(self, layout: DatasetFormat | None, limits: Limits) -> None:
        self.layout = layout
        self._limits = limits

    def rows(self, path: Path) -> Iterator[_ReadRow]:
        with path.open("rb") as file:
            raws = split_rows(file, self._limits.max_row_bytes)
            parsed = (self._parse(raw) for raw in raws)
            yield from map(self._read, parsed if self.layout else self._detect(parsed))

    @staticmethod
    def _parse(raw: RawRow | Fault) -> _ParsedRow | Fault:
        value = raw if isinstance(raw, Fault) else parse_row(raw)
        return value if isinstance(value, Fault) else _ParsedRow(raw.line, raw.row, value)

    def _detect(self, rows: Iterator[_ParsedRow | Fault]) -> Iterable[_ParsedRow | Fault]:
        head = list(islice(rows, DETECTION_ROWS))
        found = Counter(detect(row.value) for row in head if isinstance(row, _ParsedRow))
        del found[None]
        if found:
            self.layout = found.most_common(1)[0][0]
        return chain(head, rows)

    def _read(self, row: _ParsedRow | Fault) -> _ReadRow:
        if isinstance(row, Fault):
            return _ReadRow(row.row, None, (row,))
        self.layout = self.layout or detect(row.value)
        if self.layout is None or not has_marks(row.value, self.layout):
            return _ReadRow(row.row, None, (Fault(row.line, row.row, "", _foreign(row.value, self.layout)),))
        fields = RowFields(row.value, self._limits.max_messages)
        example = FORMATS[self.layout](fields)
        faults = tuple(Fault(row.line, row.row, path, reason) for path, reason in fields.faults)
        return _ReadRow(row.row, None if faults else example, faults)


class _Tally:
    """Counts while rows go by."""

    def __init__(self) -> None:
        self._rows = self._faulty = self._faults = self._duplicates = self._answers = self._characters = 0
        self._seen: set[int] = set()

    @property
    def is_empty(self) -> bool:
        return self._faults == self._rows == 0

    def add(self, row: _ReadRow) -> None:
        self._faults += len(row.faults)
        self._faulty += bool(row.faults) and row.number > 0
        if row.example is not None:
            self._add_example(row.example)

    def _add_example(self, example: Example) -> None:
        self._rows += 1
        # 64 bits: among a million rows the odds of a false hit are one in forty million.
        digest = hash(example)
        self._duplicates += digest in self._seen
        if len(self._seen) < DUPLICATE_WINDOW:
            self._seen.add(digest)
        answers = _answers(example)
        self._answers += len(answers)
        self._characters += sum(map(len, answers))

    def count(self, fault: Fault) -> Fault:
        self._faults += 1
        return fault

    def summary(self, layout: DatasetFormat | None) -> Summary:
        statistics = Statistics(self._rows, self._faulty, self._duplicates, self._answers, self._characters)
        return Summary(layout, statistics, self._faults)


def _answers(example: Example) -> list[str]:
    if isinstance(example, TextPair):
        return [example.completion]
    return [message.content for message in example.messages if message.supervised]


def _foreign(row: dict[str, Any], layout: DatasetFormat | None) -> str:
    found = detect(row)
    if layout and found:
        return f"The row is in {TITLES[found]} format, the file in {TITLES[layout]}. Keep one format per file."
    keys = ", ".join(quote(key) for key in islice(row, 5)) or "none"
    expected = _LAYOUTS[layout] if layout else " or ".join(_LAYOUTS.values())
    return f"The row's layout is not known; its keys are {keys}. Expected is {expected}."


_LAYOUTS: Final = {
    DatasetFormat.ALPACA: '"instruction", "input", "output" (Alpaca)',
    DatasetFormat.SHAREGPT: '"conversations" (ShareGPT)',
    DatasetFormat.OPENAI_CHAT: '"messages" (OpenAI chat)',
    DatasetFormat.PROMPT_COMPLETION: '"prompt", "completion"',
}
