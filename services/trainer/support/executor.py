"""Where recipes run. For now as a process beside the worker; other executors keep the same interface."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from services.common.errors import DomainError, Reason
from services.trainer.recipe.protocol import Event, Failed, Finished, Paused, RecipeTask, decode, encode_task
from services.trainer.support.last_words import LastWords
from services.trainer.support.launcher import dying_with_this_process

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Longest event; Finished carries a probe and a chat template."""

RECIPE: Final = (sys.executable, "-P", "-m", "services.trainer.recipe")
"""-P: the directory that somebody started the worker in must not be where modules are looked for."""

_SECRET: Final = re.compile(r"SECRET|PASSWORD|CREDENTIAL|DATABASE_URL|(^|_)(TOKEN|KEY|HEADERS)($|_)")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Executor(Protocol):
    """Runs recipes somewhere."""

    def run(self, task: RecipeTask, directory: Path) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Start a recipe; leaving the context ends it, done or not.

        Args:
            task: what to train.
            directory: for the run's own files.

        Returns:
            Its events; the last one is Failed, Paused or Finished. Reading on raises TRAINING_CRASHED where the recipe ended
            without either.
        """


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs each recipe as a child process of this one.

    Attributes:
        stop_seconds: how long a process may take to end before it is killed.
        program: what to run, with the task's file as its last argument.
    """

    stop_seconds: float
    program: tuple[str, ...] = RECIPE

    @asynccontextmanager
    async def run(self, task: RecipeTask, directory: Path) -> AsyncIterator[AsyncIterator[Event]]:
        """See ``Executor``."""
        task_file = directory / "task.json"
        await asyncio.to_thread(task_file.write_text, encode_task(task))
        process = await _start([*self.program, str(task_file)])
        log.info("recipe started", pid=process.pid)
        words = LastWords()
        listening = asyncio.create_task(words.listen(process.stderr))
        try:
            yield self._events(process, words, listening)
        finally:
            await asyncio.shield(self._end(process))
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _events(
        self, process: asyncio.subprocess.Process, words: LastWords, listening: asyncio.Task[None]
    ) -> AsyncIterator[Event]:
        while line := await _line(process.stdout):
            event = decode(line)
            yield event
            if isinstance(event, Failed | Paused | Finished):
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), self.stop_seconds)
                return
        status = await process.wait()
        # Its children may still hold the pipe open.
        await asyncio.wait({listening}, timeout=1)
        raise _crashed(status, words)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is not None:
                break
            # The whole session: what the recipe itself has started ends too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.stop_seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        log.info("recipe ended", pid=process.pid, status=process.returncode)


async def _start(argv: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *dying_with_this_process(argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
        env=without_secrets(os.environ),
        # Signals of the worker's terminal are the worker's to handle.
        start_new_session=True,
    )


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep what the recipe may know: it reads files that anyone may have written."""
    return {name: value for name, value in environment.items() if not _SECRET.search(name.upper())}


async def _line(stream: asyncio.StreamReader | None) -> bytes:
    if stream is None:
        return b""
    try:
        return await stream.readline()
    except ValueError:
        text = f"The recipe wrote an event of more than {MAX_LINE_BYTES} bytes."
        raise DomainError(Reason.INTERNAL, text) from None


def _crashed(status: int, words: LastWords) -> DomainError:
    last = f" Its last words: {words}" if str(words) else ""
    if status < 0:
        name = signal.Signals(-status).name
        cause = ", which often means that memory ran out" if name == "SIGKILL" else ""
        text = f"The training process was ended by {name}{cause}.{last}"
        return DomainError(Reason.TRAINING_CRASHED, text, {"signal": name})
    text = f"The training process ended with status {status} and without a result.{last}"
    return DomainError(Reason.TRAINING_CRASHED, text, {"exit_status": str(status)})
