"""One document, one reader: what must hold whatever the bytes are."""

import time
import tracemalloc
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final

from services.common.errors import DomainError
from tests.unit.hostile.mutations import mutate
from tests.unit.hostile.readers import Reader

MAX_SECONDS: Final = 2.0
"""Of processor time for at most 64 KiB: a hundred times what the slowest takes, and far below a hang."""
MEMORY_FACTOR: Final = 64
MEMORY_CONSTANT: Final = 2_000_000
"""A Python object takes up to 56 bytes for two of JSON (``[],``); what is built of them is built once more to compare."""
SERVICES: Final = str(Path("services", "common"))

Site = tuple[str, int]
ACCEPTED: Final[Site] = ("accepted", 0)


def examine(reader: Reader, data: bytes, *, weigh: bool = True) -> Site:
    """Read a document twice and hold the two against each other.

    Args:
        reader: what reads it.
        data: the document.
        weigh: whether to look at memory too, which is slow.

    Returns:
        Where it was refused, so that documents refused elsewhere can be told from those that only look different.
    """
    started = time.thread_time()
    first, site = _attempt(reader, data)
    assert time.thread_time() - started < MAX_SECONDS, "it takes too long"
    if weigh:
        peak, second = _weighed(reader, data)
        assert peak < MEMORY_FACTOR * len(data) + MEMORY_CONSTANT, f"{peak} bytes for a document of {len(data)}"
        assert second == first, "read again, it is something else"
    if site == ACCEPTED and reader.again is not None:
        assert reader.read(reader.again(first)) == first, "written and read again, it is something else"
    return site


def explore(reader: Reader, seed: int, seconds: float) -> tuple[int, int]:
    """Damage documents for some time, going on from those that were refused in a place not seen before.

    Returns:
        Documents tried, and places seen.
    """
    random = Random(seed)
    corpus = list(reader.seeds)
    places = {examine(reader, data) for data in corpus}
    tried = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tried += 1
        data = mutate(random.choice(corpus), random, corpus)
        try:
            site = examine(reader, data, weigh=tried % 16 == 0)
        except Exception as error:
            error.add_note(f"The document: {data[:4000]!r}")
            raise
        if site not in places:
            places.add(site)
            corpus.append(data)
    return tried, len(places)


def _attempt(reader: Reader, data: bytes) -> tuple[Any, Site]:
    try:
        return reader.read(data), ACCEPTED
    except DomainError as error:
        refusal, site = error, _site(error.__traceback__)
    assert refusal.reason in reader.reasons, f"refused as {refusal.reason}"
    return (refusal.reason, refusal.message), site


def _weighed(reader: Reader, data: bytes) -> tuple[int, Any]:
    tracemalloc.start()
    try:
        value, _ = _attempt(reader, data)
        return tracemalloc.get_traced_memory()[1], value
    finally:
        tracemalloc.stop()


def _site(traceback: TracebackType | None) -> Site:
    """The innermost line that asked for the check, not the helper that raised for it."""
    found: list[Site] = []
    while traceback is not None:
        found.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return found[-2] if len(found) > 2 else found[-1]
