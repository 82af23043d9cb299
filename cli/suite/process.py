"""What the supervisor has to know of a process."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cli.suite.launcher import Identity

DRAIN_SECONDS: Final = 10.0
"""How long a process may take to end after it was asked to."""


@dataclass(frozen=True, slots=True)
class StopStep:
    """One signal, and how long to wait for its effect before the next; SIGKILL follows the last."""

    signal: signal.Signals
    seconds: float


async def nothing_to_prepare() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of the suite.

    Attributes:
        name: also the name of its log file.
        argv: the program, as a path, and its arguments; no secrets, because every user of the machine can read them.
        env: its whole environment; secrets travel here.
        ready: whether it can do its work now; bounded by itself, and false rather than an exception when not.
        depends_on: names of the processes that must be ready before it starts, and end after it.
        uses: names of the processes that end after it, but need not be ready before it starts.
        prepare: run before each start.
        ready_within: seconds from start to readiness, else the start has failed.
        stop: how to end it.
        death_signal: what the kernel sends it when the supervisor dies.
        identity: whom it runs as; None: as the supervisor.
        pass_fds: descriptors it inherits, under the same numbers.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], Awaitable[bool]] = field(repr=False)
    depends_on: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    prepare: Callable[[], Awaitable[None]] = field(default=nothing_to_prepare, repr=False)
    ready_within: float = 60.0
    stop: tuple[StopStep, ...] = (StopStep(signal.SIGTERM, DRAIN_SECONDS),)
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity | None = None
    pass_fds: tuple[int, ...] = ()

    @property
    def outlived_by(self) -> frozenset[str]:
        """Names of all the processes that end after it."""
        return frozenset((*self.depends_on, *self.uses))
