"""What identity costs on a base of 494 million parameters: header checks, hashing, the second start, memory.

    python -m benchmarks.identity [--rounds N] [--json]

Everything is measured in the same run, interleaved, from the page cache; a figure is the median over the rounds of what
one round gives, and speeds are ratios within a round, so that a busy machine disturbs both sides alike.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.large_adapter import make_large_adapter
from benchmarks.large_base import make_large_base
from services.common.admission.config import parse_config
from services.common.admission.tensors import plan_adapter
from services.common.bases.loader import load_base
from services.common.identity import BaseFingerprint, DigestCache, TensorLeaf, Verdict, compare, open_base, parse_header
from services.common.identity.contents import BLOCK_BYTES, content_digests, default_threads
from services.common.identity.safetensors_header import PREFIX_BYTES
from services.common.identity.trees import in_order, structure_root
from services.common.identity.weights import WeightsFile

MEGABYTE: Final = 1_000_000
HUGE_ROWS: Final = 2_500_000
"""Rows of an embedding that makes a base of 5.2 GB."""
CACHED_STARTS: Final = 5
"""Short measurements are repeated within a round."""

LIMITS: Final[dict[str, tuple[str, float, Callable[[float, float], bool]]]] = {
    "header_checks": ("ms", 50.0, float.__le__),
    "second_start_float32": ("% of loading", 5.0, float.__le__),
    "second_start_bfloat16": ("% of loading", 5.0, float.__le__),
    "first_hashing": ("% of hashlib's throughput", 80.0, float.__ge__),
    "hashing_memory": ("MB", 200.0, float.__le__),
    "hashing_memory_5_gb": ("MB", 200.0, float.__le__),
}
"""Unit, limit, and on which side of it a figure must be."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as directory:
        result = judged(measure(Path(directory), options.rounds))
    print(json.dumps(result, indent=2) if options.json else as_text(result))


def measure(directory: Path, rounds: int) -> dict[str, float]:
    """Every figure, by name."""
    base, adapter = make_large_base(directory / "base"), make_large_adapter(directory / "adapter")
    cache = DigestCache(directory / "digests")
    time.sleep(0.2)  # the cache does not remember files that were written just now
    with open_base(base) as opened:
        fingerprint = opened.fingerprint(cache=cache)
    measured = [one_round(base, adapter, fingerprint, cache) for _ in range(rounds)]
    figures = {name: statistics.median(found[name] for found in measured) for name in measured[0]}
    huge = make_large_base(directory / "huge", rows=HUGE_ROWS, sparse=True)
    return figures | {"hashing_memory": hashing_memory(base), "hashing_memory_5_gb": hashing_memory(huge)}


def one_round(base: Path, adapter: Path, fingerprint: BaseFingerprint, cache: DigestCache) -> dict[str, float]:
    """Each measurement once, one after the other."""
    weights = base / "model.safetensors"
    plain = seconds(lambda: hash_plainly(weights))
    ours = seconds(lambda: hash_as_fingerprint(weights))
    headers = repeated(lambda: check_headers(base, adapter, fingerprint))
    with open_base(base) as opened:
        again = repeated(lambda: opened.fingerprint(cache=cache))
        single = seconds(lambda: load_base(opened, dtype=torch.float32))
        half = seconds(lambda: load_base(opened, dtype=torch.bfloat16))
    return {
        "header_checks": 1000 * headers,
        "second_start_float32": 100 * again / single,
        "second_start_bfloat16": 100 * again / half,
        "first_hashing": 100 * plain / ours,
    }


def check_headers(base: Path, adapter: Path, fingerprint: BaseFingerprint) -> None:
    """All that base and adapter tell without their weights: structure, verdict, and every tensor's place."""
    with open_base(base) as opened:
        leaves = [TensorLeaf(e.name, e.dtype, e.shape, "") for e in (stored.entry for stored in opened.tensors())]
        same = structure_root(in_order(leaves)) == fingerprint.structure_root
    if not same or compare(fingerprint, fingerprint).verdict is not Verdict.EXACT:
        raise SystemExit("The base does not equal itself.")
    config = parse_config((adapter / "adapter_config.json").read_bytes())
    weights = adapter / "adapter_model.safetensors"
    with weights.open("rb") as file:
        header = file.read(int.from_bytes(file.read(PREFIX_BYTES), "little"))
    entries = parse_header(header, file_size=weights.stat().st_size, what=weights.name)
    plan_adapter(config, entries, fingerprint.modules)


def hash_plainly(path: Path) -> None:
    """SHA-256 over equal parts of the file, a thread each, read as the fingerprint reads."""
    threads = default_threads()
    part = -(-path.stat().st_size // threads)
    with path.open("rb") as file, ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda index: hash_part(file.fileno(), index * part, (index + 1) * part), range(threads)))


def hash_part(descriptor: int, position: int, end: int) -> bytes:
    """SHA-256 of one part."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := os.preadv(descriptor, [buffer[: end - position]], position):
        hasher.update(buffer[:count])
        position += count
    return hasher.digest()


def hash_as_fingerprint(path: Path) -> None:
    """The content digests that a fingerprint is made of."""
    file = WeightsFile(path)
    try:
        content_digests([file])
    finally:
        file.close()


def hashing_memory(base: Path) -> float:
    """Megabytes that a process of its own takes for fingerprinting."""
    command = [sys.executable, "-m", "benchmarks.hashing_memory", str(base)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / MEGABYTE


def repeated(work: Callable[[], object]) -> float:
    """Median seconds of something short."""
    return statistics.median(seconds(work) for _ in range(CACHED_STARTS))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes; what it made is dropped after the clock has stopped."""
    started = time.perf_counter()
    made = work()
    elapsed = time.perf_counter() - started
    del made
    return elapsed


def judged(figures: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Each figure with its unit and its limit."""
    return {
        name: {"value": round(figures[name], 2), "unit": unit, "limit": limit, "ok": holds(figures[name], limit)}
        for name, (unit, limit, holds) in LIMITS.items()
    }


def as_text(result: dict[str, dict[str, Any]]) -> str:
    """For people."""
    return "\n".join(
        f"{name:<24}{figure['value']:>10} {figure['unit']} (limit {figure['limit']:g}): "
        f"{'ok' if figure['ok'] else 'MISSED'}"
        for name, figure in result.items()
    )


if __name__ == "__main__":
    main()
