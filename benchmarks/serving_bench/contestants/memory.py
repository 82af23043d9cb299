"""Loads a base with this project's engine and says what memory that took: in a process that does nothing else.

python -m benchmarks.serving_bench.contestants.memory BASE KV_BYTES
"""

import argparse
import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.contestants.tenon import load, options_for
from benchmarks.serving_bench.messages import READY, Wire

POLL_SECONDS: Final = 0.01
_RESET_PEAK: Final = "5"
"""What /proc/self/clear_refs takes for VmHWM."""


def measure(base: Path, kv_bytes: int) -> Mapping[str, Any]:
    """Load the base; bytes that it takes afterwards, and at the most."""
    options = replace(options_for(), kv_bytes=kv_bytes)
    before = memory()
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    with highest_anonymous() as anonymous:
        engine, fingerprint = asyncio.run(load(base, options))
    after = memory()
    return {
        "weights": fingerprint.parameter_count * engine.dtype.itemsize,
        "kv_budget": options.kv_bytes,
        "loaded": after["VmRSS"] - before["VmRSS"],
        "loaded_private": after["Private_Dirty"] - before["Private_Dirty"],
        "peak": after["VmHWM"] - before["VmRSS"],
        "peak_anonymous": max(anonymous) - before["RssAnon"],
    }


def memory() -> dict[str, int]:
    """Bytes by the names that the kernel gives them."""
    found: dict[str, int] = {}
    for name in ("status", "smaps_rollup"):
        for line in Path("/proc/self", name).read_text().splitlines():
            key, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[key] = 1024 * int(value.split()[0])
    return found


@contextmanager
def highest_anonymous() -> Iterator[list[int]]:
    """Watch the memory that no file backs while the block runs."""
    seen = [_anonymous()]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            seen.append(_anonymous())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
        seen.append(_anonymous())


def _anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    return 0


def main() -> None:
    """Load and answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("kv_bytes", type=int)
    arguments = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    wire.serve({READY: lambda _: measure(arguments.base, arguments.kv_bytes)})


if __name__ == "__main__":
    main()
