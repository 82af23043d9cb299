"""How fast data sets are checked, and in how much memory: every row format, each in a process of its own.

    python -m benchmarks.lint [--size 50M] [--layout NAME] [--json]

Files are written first, then read from the page cache. A figure is one check of a whole file by one process on one core;
memory is the kernel's high-water mark of resident memory, less what the process had before it opened the file. Parquet is
unpacked by a second process, whose whole memory counts; its speed is that of the rows as they are once unpacked. On a busy
machine look at the megabytes per second of this process's CPU time.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hashing_memory import resident
from services.trainer.datasets import Fault, Limits, check_dataset

MEGABYTE: Final = 1_000_000
UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
LEAST_MB_PER_SECOND: Final = 20.0
MOST_MEMORY_MB: Final = 200.0
ROWS_AT_ONCE: Final = 1000
DUPLICATES: Final = 0.01

Row = dict[str, Any]


def main() -> None:
    """Measure and print; ends with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=50 * MEGABYTE, help="bytes of each file, such as 1G (50M)")
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="only this file; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--written", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(check(options.child, options.written)))
        return
    found = {name: measure(name, options.size) for name in options.layout or LAYOUTS}
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    if not all(figures["passed"] for figures in found.values()):
        sys.exit(1)


def parse_size(text: str) -> int:
    """Read a number of bytes: 50M, 1G."""
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isdigit() or unit not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 50M or 1G")
    return int(digits) * UNITS[unit]


def measure(name: str, size: int) -> Row:
    """Write one file and check it in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        write, row = LAYOUTS[name]
        written = write(path, rows_of(row), size)
        command = [sys.executable, "-m", "benchmarks.lint", "--child", str(path), "--written", str(written)]
        found: Row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    fast = found["mb_per_second"] >= LEAST_MB_PER_SECOND
    return found | {"passed": fast and found["memory_mb"] <= MOST_MEMORY_MB and not found["faults"]}


def check(path: Path, size: int) -> Row:
    """Check a file of so many bytes of JSON and tell how it went."""
    before, began = resident("VmRSS"), time.perf_counter()
    computed = time.process_time()
    faults = 0
    for item in check_dataset(path, None, Limits()):
        if isinstance(item, Fault):
            faults += 1
        else:
            statistics = item.statistics
    elapsed = time.perf_counter() - began
    # Parquet is read by a process of its own.
    reader = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "megabytes": size / MEGABYTE,
        "rows": statistics.row_count,
        "duplicates": statistics.duplicate_row_count,
        "faults": faults,
        "seconds": elapsed,
        "cpu_seconds": time.process_time() - computed,
        "mb_per_second": size / MEGABYTE / elapsed,
        "rows_per_second": statistics.row_count / elapsed,
        "memory_mb": (resident("VmHWM") - before + reader) / MEGABYTE,
    }


def rows_of(make: Callable[[random.Random], Row]) -> Iterator[Row]:
    """Rows without end; one in a hundred is one that was there before."""
    chance = random.Random(0)
    row = make(chance)
    while True:
        if chance.random() >= DUPLICATES:
            row = make(chance)
        yield row


WORDS: Final = ("the adapter a base model of rows and answers question learns 猴王 花果山 水帘洞 é naïve " * 2).split()


def text(chance: random.Random, words: int) -> str:
    """Words of several scripts, with what JSON has to escape, and often a colon, which keys have too."""
    drawn = chance.choices(WORDS, k=max(1, round(chance.gauss(words, words / 4))))
    return f'{" ".join(drawn)}{chance.choice(".:")}\n"{chance.getrandbits(64):x}"'


def alpaca(chance: random.Random) -> Row:
    """Some 400 bytes, as in the data set that gave the format its name."""
    return {
        "instruction": text(chance, 10),
        "input": text(chance, 8) if chance.random() < 0.4 else "",
        "output": text(chance, 40),
    }


def sharegpt(chance: random.Random) -> Row:
    """Six turns."""
    speakers = ("human", "gpt") * 3
    return {
        "id": f"{chance.getrandbits(48):x}",
        "conversations": [{"from": who, "value": text(chance, 30)} for who in speakers],
    }


def openai_chat(chance: random.Random) -> Row:
    """A system message and two turns."""
    roles = ("system", "user", "assistant", "user", "assistant")
    return {"messages": [{"role": role, "content": text(chance, 25)} for role in roles]}


def prompt_completion(chance: random.Random) -> Row:
    """Some 500 bytes."""
    return {"prompt": text(chance, 40), "completion": text(chance, 25)}


def write_lines(path: Path, rows: Iterator[Row], size: int) -> int:
    """Write JSON Lines; gives the bytes written."""
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.write("".join(json.dumps(next(rows), ensure_ascii=False) + "\n" for _ in range(ROWS_AT_ONCE)))
    return path.stat().st_size


def write_array(path: Path, rows: Iterator[Row], size: int) -> int:
    """Write one JSON array, indented, as such files are published."""
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        while file.tell() < size:
            for _ in range(ROWS_AT_ONCE):
                file.write(separator + json.dumps(next(rows), ensure_ascii=False, indent=4))
                separator = ",\n"
        file.write("\n]\n")
    return path.stat().st_size


def write_parquet(path: Path, rows: Iterator[Row], size: int) -> int:
    """Write row groups of a thousand rows, as the hub does; gives the bytes that they have as JSON."""
    written = 0
    with ExitStack() as stack:
        writer = None
        while written < size:
            some = [next(rows) for _ in range(ROWS_AT_ONCE)]
            written += sum(len(json.dumps(row, ensure_ascii=False).encode()) + 1 for row in some)
            table = pa.Table.from_pylist(some)
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)
    return written


LAYOUTS: Final[dict[str, tuple[Callable[[Path, Iterator[Row], int], int], Callable[[random.Random], Row]]]] = {
    "alpaca.json": (write_array, alpaca),
    "alpaca.jsonl": (write_lines, alpaca),
    "sharegpt.json": (write_array, sharegpt),
    "sharegpt.jsonl": (write_lines, sharegpt),
    "openai_chat.jsonl": (write_lines, openai_chat),
    "prompt_completion.jsonl": (write_lines, prompt_completion),
    "openai_chat.parquet": (write_parquet, openai_chat),
}
"""Files by name: how they are written, and what their rows are."""


def as_text(found: dict[str, Row]) -> str:
    """A table."""
    lines = [f"{'':24}{'MB':>8}{'rows':>10}{'MB/s':>8}{'per CPU s':>11}{'rows/s':>10}{'memory MB':>11}"]
    lines += [
        f"{name:24}{f['megabytes']:8.0f}{f['rows']:10,}{f['mb_per_second']:8.1f}{f['megabytes'] / f['cpu_seconds']:11.1f}{f['rows_per_second']:10,.0f}"
        f"{f['memory_mb']:11.0f}{'' if f['passed'] else '  MISSED'}"
        for name, f in found.items()
    ]
    least = f"at least {LEAST_MB_PER_SECOND:.0f} MB/s and at most {MOST_MEMORY_MB:.0f} MB are wanted"
    return "\n".join([*lines, least])


if __name__ == "__main__":
    main()
