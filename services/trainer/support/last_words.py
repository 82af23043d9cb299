"""The end of what a process wrote to stderr, fit to be shown to whom the job belongs."""

import asyncio
import re
from collections import deque
from typing import Final

import structlog

MAX_LINES: Final = 12
MAX_LINE: Final = 300

_FOLDERS: Final = re.compile(r"""(?<![\w.:/])/(?:[^\s:"'/]+/)+""")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class LastWords:
    """The last lines of a stream."""

    def __init__(self) -> None:
        """Start with none."""
        self._lines: deque[str] = deque(maxlen=MAX_LINES)

    def __str__(self) -> str:
        """The lines, without the folders of this machine."""
        return "\n".join(_FOLDERS.sub("…/", line) for line in self._lines)

    def hear(self, line: str) -> None:
        """Remember a line, if there is anything on it."""
        if line.strip():
            self._lines.append(line.rstrip()[:MAX_LINE])

    async def listen(self, stream: asyncio.StreamReader | None) -> None:
        """Remember every line until the stream ends."""
        while stream is not None and (line := await _next(stream)):
            text = line.decode("utf-8", "replace")
            log.debug("recipe says", line=text.rstrip())
            self.hear(text)


async def _next(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        # A line longer than the stream's buffer was dropped; progress bars without line ends do that.
        return b"\n"
