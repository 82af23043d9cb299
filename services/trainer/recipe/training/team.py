"""Threads that compute micro-batches at the same time, each by itself.

An operation that several threads share ends when the last of them does, some thousand times a step; what runs between operations, and
small ones, run in one thread while the others wait. Micro-batches know nothing of one another, so threads with one each wait only once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


class Team:
    """Some threads; with one member, the caller's own."""

    def __init__(self, members: int, threads: int) -> None:
        """Form a team.

        Args:
            members: threads that compute at the same time.
            threads: that share an operation of each member.
        """
        self.members = members
        self._pool = None
        if members > 1:
            self._pool = ThreadPoolExecutor(members, "team", initializer=torch.set_num_threads, initargs=(threads,))

    def map(self, work: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Call for each item, at the same time; results in their order.

        Raises:
            Exception: whatever the first call that fails raises, once none runs any more.
        """
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        futures = [self._pool.submit(work, item) for item in items]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def __enter__(self) -> Self:
        """Use the team until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
