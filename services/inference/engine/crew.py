"""How many threads compute together."""

from collections.abc import Callable
from typing import Final


class Crew:
    """How many threads compute together: all that may, or fewer while other programs keep processors busy.

    Threads that compute together wait for the last of them at every operation. When one shares its processor with another program, that is
    several milliseconds each time, and a step takes ten times as long as with a thread less. That they wait shows in the processor time
    that the process got. Belongs to the engine's thread.
    """

    ENOUGH: Final = 0.75
    """Of the processor time that all threads could have had: with less, others were in the way."""

    WINDOW: Final = 0.05
    """Seconds of work that are looked at together."""

    SHORTEST, LONGEST = 0.25, 4.0
    """Seconds until all threads are tried again; longer each time that it was in vain."""

    def __init__(self, most: int, set_threads: Callable[[int], None]) -> None:
        """Begin with as many threads as there may be.

        Args:
            most: threads.
            set_threads: has so many compute from now on.
        """
        self._most = self._threads = most
        self._set_threads = set_threads
        self._wall = self._used = 0.0
        self._patience = self.SHORTEST
        self._until = 0.0

    @property
    def threads(self) -> int:
        """That compute now."""
        return self._threads

    def worked(self, wall: float, used: float, now: float) -> None:
        """Learn from a piece of work.

        Args:
            wall: seconds that it took.
            used: processor seconds that the process got meanwhile.
            now: seconds of a clock.
        """
        if self._threads < self._most:
            if now >= self._until:
                self._become(self._most)
            return
        self._wall += wall
        self._used += used
        if self._wall < self.WINDOW:
            return
        share = self._used / (self._wall * self._threads)
        self._wall = self._used = 0.0
        if share >= self.ENOUGH:
            self._patience = max(self._patience / 2, self.SHORTEST)
            return
        self._become(max(1, int(self._most * share)))
        self._until = now + self._patience
        self._patience = min(2 * self._patience, self.LONGEST)

    def _become(self, threads: int) -> None:
        if threads != self._threads:
            self._threads = threads
            self._set_threads(threads)
        self._wall = self._used = 0.0
