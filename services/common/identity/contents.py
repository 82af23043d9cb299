"""Content digests of tensors: RFC 6962 trees over 16 MiB chunks, hashed on several threads."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.common.identity.cache import DigestCache
from services.common.identity.merkle import LEAF_PREFIX, tree_hash
from services.common.identity.weights import WeightsFile

__all__ = ["CHUNK_BYTES", "content_digests", "default_threads"]

CHUNK_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one leaf; part of the scheme."""
BLOCK_BYTES: Final = 1024 * 1024
"""Bytes read at once: small enough to stay in a core's cache between the read and the hash."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    file: WeightsFile
    begin: int
    end: int


def default_threads() -> int:
    """As many as the processors this process may use."""
    return len(os.sched_getaffinity(0))


def content_digests(
    files: Sequence[WeightsFile], *, cache: DigestCache | None = None, threads: int | None = None
) -> dict[str, str]:
    """The content digest of every tensor of the files.

    Args:
        files: open weights files.
        cache: answers for files hashed before, and learns the others.
        threads: hashing at the same time; by default ``default_threads``.

    Returns:
        Tensor name → 64 hex digits.

    Raises:
        DomainError: SAFETENSORS_INVALID where a file ends early, BASE_FILES_INCONSISTENT where it changed meanwhile.
    """
    digests: dict[str, str] = {}
    with _pool(threads or default_threads()) as pool:
        for file in files:
            known = cache.get(file.identity, file.header_digest) if cache else None
            if known is None or known.keys() != {entry.name for entry in file.entries}:
                known = _hash_file(file, pool)
                file.check_unchanged()
                if cache:
                    cache.put(file.identity, file.header_digest, known)
            digests |= known
    return digests


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that stop at the next chunk where the caller is interrupted; by itself a pool would first hash the rest."""
    with ThreadPoolExecutor(threads, thread_name_prefix="fingerprint") as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _hash_file(file: WeightsFile, pool: ThreadPoolExecutor) -> dict[str, str]:
    chunks = [(entry.name, chunk) for entry in file.entries for chunk in _chunks(file, entry.begin, entry.end)]
    leaves: dict[str, list[bytes]] = {entry.name: [] for entry in file.entries}
    for (name, _), leaf in zip(chunks, pool.map(_hash_chunk, [chunk for _, chunk in chunks]), strict=True):
        leaves[name].append(leaf)
    return {name: tree_hash(parts).hex() for name, parts in leaves.items()}


def _chunks(file: WeightsFile, begin: int, end: int) -> Iterator[_Chunk]:
    for start in range(begin, end, CHUNK_BYTES):
        yield _Chunk(file, start, min(start + CHUNK_BYTES, end))


def _hash_chunk(chunk: _Chunk) -> bytes:
    hasher = hashlib.sha256(LEAF_PREFIX)
    position = chunk.begin
    buffer = memoryview(bytearray(min(BLOCK_BYTES, chunk.end - chunk.begin)))
    while position < chunk.end:
        count = chunk.file.read_into(buffer[: chunk.end - position], position)
        hasher.update(buffer[:count])
        position += count
    return hasher.digest()
