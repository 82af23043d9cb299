"""Reads cut rows in one format, which it finds out itself where it was not given."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from services.common.rows.content import SOURCE_KEY, Example
from services.common.rows.cut import RawRow
from services.common.rows.formats import FORMATS, LAYOUT_OF, LAYOUTS, TITLES, detect, marks
from services.common.rows.formats.fields import RowFields
from services.common.rows.model import DatasetFormat, Fault, Limits
from services.common.rows.parse import parse_row, quote

DETECTION_ROWS: Final = 8
"""Rows looked at to tell the format; the most frequent one counts, so that one odd row does not make all others wrong."""


class ReadRow(NamedTuple):
    """What became of one row, or, with number 0, of the file: an example, or faults.

    Attributes:
        number: position among the rows, from 1.
        example: None where there are faults.
        faults: all that is wrong with it.
        fields: its keys and values; empty where it could not be parsed.
        data: its bytes in the file; empty as ``fields`` are.
    """

    number: int
    example: Example | None
    faults: Sequence[Fault] = ()
    fields: dict[str, Any] = {}  # noqa: RUF012 - a default of a tuple's field, which nobody writes to
    data: bytes = b""


class RowReader:
    """Reads rows in one format.

    Attributes:
        layout: the format given or found; None as long as no row told it.
    """

    def __init__(self, layout: DatasetFormat | None, limits: Limits) -> None:
        """Read in a format, or in the one that the first rows tell."""
        self.layout = layout
        self._limits = limits

    def read(self, rows: Iterator[RawRow | Fault]) -> Iterator[ReadRow]:
        """Yield what becomes of each row that ``cut`` found."""
        if self.layout is None:
            head = list(islice(rows, DETECTION_ROWS))
            self.layout = _most_frequent(head)
            rows = chain(head, rows)
        yield from self._in_layout(rows, self.layout) if self.layout else self._in_none(rows)

    def _in_none(self, rows: Iterator[RawRow | Fault]) -> Iterator[ReadRow]:
        """Read rows up to the first that tells the format."""
        for row in rows:
            if isinstance(row, Fault):
                yield ReadRow(row.row, None, (row,))
                continue
            value = parse_row(row)
            if isinstance(value, Fault):
                yield ReadRow(row.row, None, (value,))
                continue
            self.layout = detect(value)
            if self.layout:
                yield from self._in_layout(chain([row], rows), self.layout)
                return
            yield _refused(row, _foreign(value, None))

    def _in_layout(self, rows: Iterator[RawRow | Fault], layout: DatasetFormat) -> Iterator[ReadRow]:
        read, known, most = FORMATS[layout], marks(layout), self._limits.max_messages
        for row in rows:
            if isinstance(row, Fault):
                yield ReadRow(row.row, None, (row,))
                continue
            value = parse_row(row)
            if isinstance(value, Fault):
                yield ReadRow(row.row, None, (value,))
            elif known.isdisjoint(value):
                yield _refused(row, _foreign(value, layout))
            else:
                fields = RowFields(value, most, has_escapes=b"\\u" in row.data)
                example = read(fields)
                if SOURCE_KEY in value:
                    example = _with_source(example, fields)
                faults = [Fault(row.line, row.row, path, why) for path, why in fields.faults]
                yield ReadRow(row.row, None if faults else example, faults, value, row.data)


def read_fields(fields: RowFields, layout: DatasetFormat) -> Example | None:
    """Read a row of a format; what is wrong with it is in ``fields.faults`` then."""
    return _with_source(FORMATS[layout](fields), fields)


def _with_source(example: Example | None, fields: RowFields) -> Example | None:
    source = fields.source()
    return example if source is None or example is None else replace(example, source=source)


def _refused(row: RawRow, why: str) -> ReadRow:
    return ReadRow(row.row, None, (Fault(row.line, row.row, "", why),))


def _most_frequent(head: Sequence[RawRow | Fault]) -> DatasetFormat | None:
    parsed = [parse_row(row) for row in head if not isinstance(row, Fault)]
    found = Counter(detect(row) for row in parsed if not isinstance(row, Fault))
    del found[None]
    return found.most_common(1)[0][0] if found else None


def _foreign(row: dict[str, Any], layout: DatasetFormat | None) -> str:
    found = detect(row)
    if layout and found:
        return f"The row is in {TITLES[found]} format, the file in {TITLES[layout]}. Keep one format per file."
    keys = ", ".join(quote(key) for key in islice(row, 5)) or "none"
    expected = LAYOUT_OF[layout] if layout else LAYOUTS
    return f"The row's layout is not known; its keys are {keys}. Expected is {expected}."
