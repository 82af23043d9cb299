"""Processes of contestants: each stands still while another is measured, and none outlives the benchmark."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.serving_bench.messages import READY, Outcome, Workload

ROOT: Final = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG: Final = 1
_LAST_LINES: Final = 2000


class ContestantError(Exception):
    """A contestant that ended, with what it said last."""


class Contestant:
    """A process that loads once and then runs workloads, one at a time; as a context, it ends with it."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and wait until everything is loaded; it stands still afterwards.

        Args:
            name: for people.
            arguments: after ``python -m``.
            log: file that gets what it prints.
            python: interpreter.
            environment: changes of this process's environment.

        Raises:
            ContestantError: where it ended instead.
        """
        self.name = name
        self._log = log
        own = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")]), "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [python, "-m", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=log.parent,
                env={**os.environ, **own, **(environment or {})},
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends everybody
                preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509  # no threads here
            )
        try:
            self.description = self.ask({"do": READY})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def run(self, workload: Workload) -> Outcome:
        """Have it run a workload while all others stand still."""
        return Outcome.from_answer(self.ask(workload.to_command()))

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Have it answer a command.

        Raises:
            ContestantError: where it ended instead.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise ContestantError(f"{self.name} has no pipes")
        with self._awake():
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            said = self._log.read_text(errors="replace")[-_LAST_LINES:] if self._log.exists() else ""
            raise ContestantError(f"{self.name} ended:\n{said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it and whatever it started; harmless if it has ended."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # reaches those that stand still, too
        self._process.wait()

    @contextmanager
    def _awake(self) -> Iterator[None]:
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


def _die_with_parent(parent: int) -> None:
    """In the child: be killed when the benchmark ends, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
