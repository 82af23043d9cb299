"""Content digests of tensors: RFC 6962 trees over 16 MiB chunks, hashed on several threads."""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
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
    with _hashers(threads or default_threads()) as hashers:
        for file in files:
            known = cache.get(file.identity, file.header_digest) if cache else None
            if known is None or known.keys() != {entry.name for entry in file.entries}:
                known = _hash_file(file, hashers)
                file.check_unchanged()
                if cache:
                    cache.put(file.identity, file.header_digest, known)
            digests |= known
    return digests


class _Hashers:
    """Threads that hash chunks.

    Not a pool of ``concurrent.futures``: where Ctrl-C comes while the caller enters one of its locks, which are written in
    Python, the lock stays taken, and the pool's threads wait for it for ever. What the caller waits for here is written in C.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._asked: SimpleQueue[tuple[int, _Chunk] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, bytes | BaseException]] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Start so many threads, which end at ``end``."""
        # A thread that starts takes such a lock, too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(count):
                thread = threading.Thread(target=self._run, name="fingerprint")
                thread.start()
                self._threads.append(thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> None:
        """Wait for the threads; where ``stopped``, each first ends the chunk at hand."""
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            thread.join()

    def hash(self, chunks: Sequence[_Chunk]) -> list[bytes]:
        """The leaf of each chunk."""
        leaves = [b""] * len(chunks)
        for asked in enumerate(chunks):
            self._asked.put(asked)
        for _ in chunks:
            index, leaf = self._done.get()
            if isinstance(leaf, BaseException):
                raise leaf
            leaves[index] = leaf
        return leaves

    def _run(self) -> None:
        while asked := self._asked.get():
            if not self.stopped:
                index, chunk = asked
                try:
                    self._done.put((index, _hash_chunk(chunk)))
                except BaseException as error:  # noqa: BLE001 - it is raised where the leaf is awaited
                    self._done.put((index, error))


@contextmanager
def _hashers(threads: int) -> Iterator[_Hashers]:
    """Threads that stop at the next chunk where the caller fails or is interrupted."""
    hashers = _Hashers()
    try:
        hashers.start(threads)
        yield hashers
    except BaseException:
        hashers.stopped = True
        raise
    finally:
        hashers.end()


def _hash_file(file: WeightsFile, hashers: _Hashers) -> dict[str, str]:
    chunks = [(entry.name, chunk) for entry in file.entries for chunk in _chunks(file, entry.begin, entry.end)]
    leaves: dict[str, list[bytes]] = {entry.name: [] for entry in file.entries}
    for (name, _), leaf in zip(chunks, hashers.hash([chunk for _, chunk in chunks]), strict=True):
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
