"""One child process: started, waited for, ended, with its output in a file."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from cli.suite.launcher import wrap
from cli.suite.logs import open_log, tail
from cli.suite.process import ProcessSpec, StopStep
from services.common.errors import DomainError, Reason

POLL_SECONDS: Final = 0.1
"""How often a starting process is asked whether it is ready."""

HURRIED_SECONDS: Final = 1.0
"""What is left of each stop step once the person has asked twice."""


class Child:
    """The process of one `ProcessSpec`; it may be started again after it has ended."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        """Start nothing yet."""
        self.spec = spec
        self._log = log
        self._log_start = 0
        self._process: asyncio.subprocess.Process | None = None
        self._group_ended = False
        self._started = 0.0

    @property
    def uptime(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._started

    async def start(self) -> None:
        """Start the process and wait until it is ready; if that fails, nothing of it is left.

        Raises:
            DomainError: PROCESS_FAILED, with the last lines of its log; or what `prepare` raised.
        """
        await self.spec.prepare()
        await self._spawn()
        try:
            await self._until_ready()
        except DomainError:
            await self.kill()
            raise

    async def exited(self) -> str:
        """Wait for the end of the process, end what it left behind, and say how it ended."""
        if self._process is None:
            return "was never started"
        status = await self._process.wait()
        self._end_group(self._process)
        return _describe(status)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask the process to end, step by step, and kill it if it does not; steps are short once `hurry` is set."""
        for step in self.spec.stop:
            if self._process is None or self._process.returncode is not None:
                break
            self._signal_leader(step.signal)
            await self._ends_within(step, hurry)
        await self.kill()

    async def kill(self) -> None:
        """End the process and all that it started in its process group, at once."""
        if self._process is None:
            return
        self._end_group(self._process)
        await self._process.wait()

    async def _spawn(self) -> None:
        argv = wrap(self.spec.argv, death_signal=self.spec.death_signal, identity=self.spec.identity)
        try:
            output = open_log(self._log)
        except OSError as error:
            raise self._failed(f"cannot write its log: {error.strerror}") from None
        try:
            self._log_start = os.fstat(output).st_size
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                env=self.spec.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self.spec.pass_fds,
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )
        except OSError as error:
            raise self._failed(f"could not be started: {error.strerror}") from None
        finally:
            os.close(output)
        self._group_ended = False
        self._started = time.monotonic()

    async def _until_ready(self) -> None:
        process = self._process
        if process is None:
            raise self._failed("was never started")
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self.spec.ready_within):
                while not ended.done():
                    if await self.spec.ready():
                        return
                    await asyncio.wait({ended}, timeout=POLL_SECONDS)
        except TimeoutError:
            raise self._failed(f"was not ready after {self.spec.ready_within:g} s") from None
        finally:
            ended.cancel()
        raise self._failed(f"{_describe(await process.wait())} before it was ready")

    async def _ends_within(self, step: StopStep, hurry: asyncio.Event) -> None:
        if self._process is None:
            return
        ended = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait({ended, hurried}, timeout=step.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and hurried.done():
                await asyncio.wait({ended}, timeout=min(step.seconds, HURRIED_SECONDS))
        finally:
            ended.cancel()
            hurried.cancel()

    def _signal_leader(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _end_group(self, process: asyncio.subprocess.Process) -> None:
        # The child leads a session, so its number is also that of the group of all that it started. Only once: later
        # the number may be another's.
        if not self._group_ended:
            self._group_ended = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _failed(self, what: str) -> DomainError:
        quoted = tail(self._log, since=self._log_start)
        lines = f" Its last lines ({self._log}):\n{quoted}" if quoted else f" Its log is {self._log}."
        return DomainError(
            Reason.PROCESS_FAILED,
            f"{self.spec.name} {what}.{lines}",
            {"process": self.spec.name, "log": str(self._log)},
        )


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"
