"""The recipe's voice: one JSON line per event on what was its standard output."""

import os
import sys
from typing import Self, TextIO

from services.trainer.recipe.protocol import Event, Level, Note, encode


class Events:
    """Writes events, each flushed at once."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream that carries nothing else."""
        self._stream = stream

    @classmethod
    def on_stdout(cls) -> Self:
        """Take standard output for events alone; what any library prints goes to standard error from now on."""
        sys.stdout.flush()
        events = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return cls(os.fdopen(events, "w", encoding="utf-8"))

    def send(self, event: Event) -> None:
        """Write an event."""
        self._stream.write(encode(event) + "\n")
        self._stream.flush()

    def info(self, text: str) -> None:
        """Tell something good to know."""
        self.send(Note(level=Level.INFO, text=text))

    def warn(self, text: str) -> None:
        """Tell something better looked at."""
        self.send(Note(level=Level.WARNING, text=text))
