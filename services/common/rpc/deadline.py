"""The caller's deadline, kept while its call is served, so that calls made on its behalf end before it does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)

SHAVE_SECONDS: Final = 0.02
"""Taken off at each hop, so that the inner call fails first and its error can still be told."""


@contextmanager
def deadline_of_call(time_remaining: float | None) -> Iterator[None]:
    """Remember the deadline of the call being served, ``time_remaining`` seconds from now."""
    token = _DEADLINE.set(None if time_remaining is None else time.monotonic() + time_remaining)
    try:
        yield
    finally:
        # A stream whose caller has gone is closed in another context, where there is nothing to go back to.
        with suppress(ValueError):
            _DEADLINE.reset(token)


def timeout_for_call(wanted: float | None, default: float) -> float:
    """Seconds a call made now may take: what it wants, but no more than is left of the call being served."""
    timeout = default if wanted is None else wanted
    deadline = _DEADLINE.get()
    if deadline is None:
        return timeout
    return max(0.001, min(timeout, deadline - time.monotonic() - SHAVE_SECONDS))
