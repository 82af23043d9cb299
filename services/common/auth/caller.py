"""The caller of the call at hand."""

import enum
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


class Scope(enum.StrEnum):
    """What a key may do; ``tenon.iam.v1.Scope`` in lower case."""

    READ = "read"
    TRAIN = "train"
    SERVE = "serve"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls.

    Attributes:
        principal: the name of a key, or ``services/NAME``; of a service that acts for a key, the key's.
        project: where it may act; None for every project.
        scopes: what it may do there; ADMIN is all of it.
        is_service: whether it is a service of the suite, which may do whatever it is made to do.
        requests_per_minute: 0 for no limit.
        tokens_per_minute: 0 for no limit.
    """

    principal: str
    project: str | None
    scopes: frozenset[Scope]
    is_service: bool = False
    requests_per_minute: int = 0
    tokens_per_minute: int = 0

    def has_any(self, scopes: frozenset[Scope]) -> bool:
        """Whether it has one of the scopes; ADMIN stands for each."""
        return Scope.ADMIN in self.scopes or bool(scopes & self.scopes)

    def may_touch(self, project: str) -> bool:
        """Whether it may act in a project."""
        return self.project is None or self.project == project

    @property
    def is_suite_admin(self) -> bool:
        """Whether it may change what all projects share."""
        return self.project is None and Scope.ADMIN in self.scopes


ANYONE: Final = Caller(principal="anyone", project=None, scopes=frozenset(Scope))
"""Whoever calls a suite that asks for no keys."""

_CALLER: ContextVar[Caller] = ContextVar("caller", default=ANYONE)


def current_caller() -> Caller:
    """Who made the call at hand."""
    return _CALLER.get()


@contextmanager
def call_by(caller: Caller) -> Iterator[None]:
    """Let the block, and what it starts, be on a caller's behalf."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        # A stream whose caller has gone is closed in another context, where there is nothing to go back to.
        with suppress(ValueError):
            _CALLER.reset(token)
