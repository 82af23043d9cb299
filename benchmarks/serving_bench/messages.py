"""What the benchmark and its contestants tell each other: JSON, a line each. Needs nothing but Python.

A contestant reads commands from its standard input and answers each on its standard output, until the input ends.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

READY: Final = "ready"
"""The command that is answered when everything is loaded."""

RUN: Final = "run"
"""The command that carries a ``Workload`` and is answered by an ``Outcome``."""

COLD: Final = "cold"
"""The service's: how long the first token of an adapter takes."""

LOOP: Final = "loop"
"""The service's: what clients meet who ask again and again."""

STALL: Final = "stall"
"""The engine's: how far apart tokens are while a long prompt is read, and while none is."""

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that arrive together.

    Attributes:
        prompts: token ids.
        adapters: of each, the name of its adapter; None is the base alone.
        tokens: to generate for each.
        together: whether they share a batch, where the contestant can do both.
    """

    prompts: Sequence[Sequence[int]]
    adapters: Sequence[str | None]
    tokens: int
    together: bool = True

    def to_command(self) -> dict[str, Any]:
        """Make a command of it."""
        return {"do": RUN, **asdict(self)}

    @classmethod
    def from_command(cls, command: Mapping[str, Any]) -> "Workload":
        """Read it from a command."""
        return cls(command["prompts"], command["adapters"], command["tokens"], command["together"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a workload.

    Attributes:
        seconds: from the arrival of the requests to the last token of all.
        times: of each request, when each of its tokens was there, in seconds after the arrival.
        tokens: of each request, the ids.
    """

    seconds: float
    times: Sequence[Sequence[float]]
    tokens: Sequence[Sequence[int]]

    def to_answer(self) -> dict[str, Any]:
        """Make an answer of it."""
        return asdict(self)

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> "Outcome":
        """Read it from an answer."""
        return cls(answer["seconds"], answer["times"], answer["tokens"])


class Wire:
    """A contestant's end: answers have the standard output for themselves, and whatever else is printed goes to the log."""

    def __init__(self) -> None:
        """Take the standard output; libraries that print, in Python or not, print to the standard error from now on."""
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Answer commands by name until the input ends."""
        for line in sys.stdin:
            command = json.loads(line)
            self._answers.write(json.dumps(handlers[command["do"]](command)) + "\n")
            self._answers.flush()
