"""The rows to make others from, and what an earlier run made of them already."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.expansion.turns import Turn, last_turn
from services.common.errors import DomainError, Reason
from services.common.rows.content import Example, content_digest
from services.common.rows.cut import split_rows
from services.common.rows.model import MIB, DatasetFormat, Fault, Limits
from services.common.rows.reader import ReadRow, RowReader

MOST_BYTES: Final = 256 * MIB
MOST_ROWS: Final = 100_000
"""More rows than that are enough, and asking a model about them would take weeks."""

PARQUET: Final = b"PAR1"

_LINE_BREAK: Final = re.compile(rb"[\r\n][ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file.

    Attributes:
        line: its JSON, in one line.
        fields: its keys and values.
        example: what it says.
        digest: of that.
        turn: what of it can be reworded; None where nothing can, or where it was made from another row.
    """

    line: str
    fields: dict[str, Any]
    example: Example
    digest: bytes
    turn: Turn | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's rows and their format."""

    layout: DatasetFormat
    rows: Sequence[Row]

    @property
    def genuine(self) -> dict[bytes, Row]:
        """Those that were not made from others, by what they say; of equal ones the first."""
        found: dict[bytes, Row] = {}
        for row in self.rows:
            if row.example.source is None:
                found.setdefault(row.digest, row)
        return found


@dataclass(slots=True)
class Expansion:
    """Rows and all that was made from them so far.

    Attributes:
        original: the rows as they were given.
        variants: lines of JSON made from a row, by its digest; those among the given rows do not count here.
        examples: what all of these say.
        counts: how many rows were made from one, by its digest; here those among the given rows do count.
    """

    original: Rows
    variants: dict[bytes, list[str]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    counts: Counter[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Count what is among the given rows."""
        self.counts = Counter(row.example.source for row in self.original.rows if row.example.source is not None)

    def add(self, line: str, example: Example) -> None:
        """Add a row that was made from one of these."""
        if example.source is not None:
            self.variants.setdefault(example.source, []).append(line)
            self.examples.append(example)
            self.counts[example.source] += 1

    @property
    def variant_count(self) -> int:
        """Rows that were made, but for those among the given ones."""
        return sum(map(len, self.variants.values()))


def read_rows(file: Path, layout: DatasetFormat | None) -> Rows:
    """Read a file of JSON Lines or one JSON array.

    Raises:
        DomainError: INVALID_ARGUMENT: it cannot be read, or is Parquet; DATASET_INVALID; DATASET_EMPTY; LIMIT_EXCEEDED.
    """
    reader, rows = RowReader(layout, Limits()), []
    try:
        with file.open("rb") as stream:
            if (size := stream.seek(0, 2)) > MOST_BYTES:
                raise _too_large(file, f"has {size:,} bytes; at most {MOST_BYTES:,}")
            stream.seek(0)
            if stream.read(len(PARQUET)) == PARQUET:
                text = f"{file} is Parquet, which is not expanded. Write it as JSON Lines."
                raise DomainError(Reason.INVALID_ARGUMENT, text)
            stream.seek(0)
            for row in reader.read(split_rows(stream, Limits().max_row_bytes)):
                rows.append(_row(file, row, reader.layout))
                if len(rows) > MOST_ROWS:
                    raise _too_large(file, f"has more than {MOST_ROWS:,} rows; so many")
    except OSError as error:
        raise DomainError(Reason.INVALID_ARGUMENT, f"Cannot read {file}: {error.strerror}.") from None
    if not rows or reader.layout is None:
        raise DomainError(Reason.DATASET_EMPTY, f"{file} holds no row.")
    return Rows(reader.layout, rows)


def _too_large(file: Path, what: str) -> DomainError:
    return DomainError(Reason.LIMIT_EXCEEDED, f"{file} {what} can be expanded at once. Split it.")


def _row(file: Path, row: ReadRow, layout: DatasetFormat | None) -> Row:
    if row.example is None or layout is None:
        raise _invalid(file, row.faults)
    # Outside of strings a line break is a blank, and inside of them there is none.
    line = _LINE_BREAK.sub(b" ", row.data).decode()
    turn = last_turn(row.fields, row.example, layout) if row.example.source is None else None
    return Row(line, row.fields, row.example, content_digest(row.example), turn)


def _invalid(file: Path, faults: Iterable[Fault]) -> DomainError:
    fault = next(iter(faults))
    place = f"{file.name}:{fault.line}" + (f" {fault.field}" if fault.field else "")
    text = f"{place}: {fault.reason} `tenon data check {file}` tells every fault."
    return DomainError(Reason.DATASET_INVALID, text, {"line": str(fault.line)})


def go_on(original: Rows, output: Path) -> Expansion:
    """Take up what an earlier run wrote to its output, if there is any.

    Raises:
        DomainError: INVALID_ARGUMENT; it is there, and holds what does not come from these rows: nothing is overwritten.
    """
    expansion = Expansion(original)
    if not output.exists():
        return expansion
    try:
        found = read_rows(output, original.layout)
    except DomainError as error:
        raise _foreign(output, error.message) from None
    known, given = original.genuine.keys(), {(row.digest, row.example.source) for row in original.rows}
    for row in found.rows:
        source = row.example.source
        if (row.digest, source) in given:
            continue
        if source is None or source not in known:
            what = "a row that is not among them" if source is None else "a row made from one that is not among them"
            raise _foreign(output, f"It holds {what}: {row.line[:80]}")
        expansion.add(row.line, row.example)
    return expansion


def _foreign(output: Path, why: str) -> DomainError:
    text = f"{output} exists and is not what was made from these rows. {why} Choose another file, or remove it."
    return DomainError(Reason.INVALID_ARGUMENT, text, {"field": "output"})
