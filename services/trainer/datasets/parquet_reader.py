"""``python -m services.trainer.datasets.parquet_reader FILE MOST_BYTES``: a Parquet file's rows as JSON Lines on stdout.

A program of its own because Parquet files come from anyone, are read by native code, and may unpack to a million times
their size: here neither a crash nor a lack of memory is the server's. Ends with 0, or says in one line of JSON on stderr
what is wrong and ends with 1.
"""

import json
import resource
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NoReturn

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from services.common.rows.formats import KNOWN_KEYS, LAYOUTS
from services.common.rows.parse import quote

MEMORY_BYTES: Final = 1 << 30
"""Memory of this process. Pages and rows are read a few at a time; what needs more is no training data."""

MOST_ROWS: Final = 20_000_000
"""Rows of a file; a column of nothing but nulls takes no bytes however many there are."""

BATCH_BYTES: Final = 8 << 20
BATCH_ROWS: Final = 1024
BUFFER_BYTES: Final = 1 << 20
MOST_NESTED: Final = 1_000_000
"""Entries of a list in the file's metadata."""

LIMIT: Final = "limit"
FAULT: Final = "fault"


def main(path: str, most_bytes: int) -> None:
    """Write the rows."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    pa.set_memory_pool(pa.system_memory_pool())
    written, out = 0, sys.stdout.buffer
    try:
        for row in rows(path):
            line = _line(row)
            written += len(line)
            if written > most_bytes:
                _end(LIMIT, f"The rows take more than {most_bytes:,} bytes once unpacked. Split the file into several.")
            out.write(line)
        out.flush()
    except MemoryError:
        text = (
            f"Reading it takes more than {MEMORY_BYTES:,} bytes of memory. Write it with smaller pages or row groups."
        )
        _end(LIMIT, text)
    except (pa.ArrowException, OSError, ValueError) as error:
        _end(FAULT, f"The file cannot be read as Parquet: {_first_line(error)}. Write it again.")


def rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, of the columns that any format knows."""
    with pq.ParquetFile(
        path,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
        thrift_container_size_limit=MOST_NESTED,
    ) as file:
        columns, metadata = _columns(file.schema_arrow.names), file.metadata
        if metadata.num_rows > MOST_ROWS:
            _end(LIMIT, f"The file has {metadata.num_rows:,} rows; at most {MOST_ROWS:,} are accepted. Split it.")
        if metadata.num_rows and not columns:
            names = ", ".join(quote(name) for name in file.schema_arrow.names[:5]) or "none"
            _end(FAULT, f"The rows' layout is not known; the columns are {names}. Expected is {LAYOUTS}.")
        size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        most = max(1, min(BATCH_ROWS, BATCH_BYTES * metadata.num_rows // max(1, size)))
        for batch in file.iter_batches(batch_size=most, columns=columns, use_threads=False):
            yield from batch.to_pylist()


def _columns(names: list[str]) -> list[str]:
    known = [name for name in names if name in KNOWN_KEYS]
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        _end(FAULT, f"The column {quote(twice)} occurs more than once; keep one of them.")
    return known


def _line(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row, default=_plain, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Bytes that are no text, or an integer of more than 64 bits: whoever reads the line says so with its field.
        return json.dumps(row, default=_plain).encode() + b"\n"


def _plain(value: object) -> object:
    """What Parquet has and JSON has not; texts are often stored as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return float(value) if isinstance(value, Decimal) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


def _end(kind: str, text: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(json.dumps({"kind": kind, "text": text}) + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
