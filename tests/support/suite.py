"""`tenon up` as a user starts it, for tests: real processes, a data directory of their own, ended by pid."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from click.testing import CliRunner, Result

from cli.client import Suite
from cli.command_line import tenon as command_line

PROJECT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 90.0


def environment(**variables: str) -> dict[str, str]:
    """This environment without settings of Tenon's, plus the given ones; the project is importable."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TENON_")}
    paths = f"{PROJECT}{os.pathsep}{PROJECT / 'protos' / 'gen'}"
    return {**kept, "PYTHONPATH": paths, "OMP_NUM_THREADS": "2", **variables}


def tenon(*arguments: str | Path, data_dir: Path | None = None, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    place = ["--data-dir", str(data_dir)] if data_dir else []
    command = [sys.executable, "-m", "cli", *place, *map(str, arguments)]
    settings = {"capture_output": True, "text": True, "timeout": 120, "env": environment(), **options}
    return subprocess.run(command, check=False, **settings)


@dataclass
class RunningSuite:
    """A suite that is ready."""

    data_dir: Path
    process: "subprocess.Popen[str]"
    endpoints: dict[str, str]

    def client(self) -> Suite:
        """A connection to the gateway."""
        return Suite(self.endpoints["gateway"], self.key)

    @property
    def key(self) -> str:
        """The key that may do everything."""
        return (self.data_dir / "run" / "admin.key").read_text().strip()

    def tenon(self, *arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command against this suite."""
        return tenon(*arguments, data_dir=self.data_dir, **options)

    def invoke(self, *arguments: str | Path) -> Result:
        """Run a command against this suite in this process, which spares its start; an error has its status with --json."""
        return CliRunner().invoke(command_line, ["--data-dir", str(self.data_dir), *map(str, arguments)])

    def processes(self) -> dict[str, psutil.Process]:
        """The suite's processes by what they run: `services.registry`, `postgres`, …"""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            # One that is being restarted has no command line for a moment.
            with suppress(psutil.Error, IndexError):
                words = child.cmdline()
                name = words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
                found[name] = child
        return found


@contextmanager
def running_suite(data_dir: Path, *, listen: str = "127.0.0.1:0", **variables: str) -> Iterator[RunningSuite]:
    """Run a suite until the block ends; if it is still there then, it must stop cleanly."""
    process = start_suite(data_dir, listen=listen, **variables)
    try:
        yield RunningSuite(data_dir, process, wait_until_ready(data_dir, process))
        if process.poll() is None:
            assert stop(process) == 0, "the suite did not stop cleanly"
    finally:
        end(process)


def start_suite(data_dir: Path, *, listen: str = "127.0.0.1:0", **variables: str) -> "subprocess.Popen[str]":
    """Start a suite and do not wait for it."""
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), "--listen", listen]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**variables))


def wait_until_ready(data_dir: Path, process: "subprocess.Popen[str]") -> dict[str, str]:
    """Wait for endpoints.json, and read it."""
    path = data_dir / "run" / "endpoints.json"
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        assert process.poll() is None, f"the suite ended with {process.returncode}\n{logs(data_dir)}"
        assert time.monotonic() < deadline, f"the suite is not ready\n{logs(data_dir)}"
        time.sleep(0.02)
    endpoints: dict[str, str] = json.loads(path.read_text())
    return endpoints


def stop(process: "subprocess.Popen[str]") -> int:
    """Ask a suite to stop; gives its exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=60)


def end(process: "subprocess.Popen[str]") -> str:
    """Make sure that a suite is gone; gives what it had printed since it was last asked."""
    if process.poll() is None:
        process.kill()
    assert process.stdout is not None
    if process.stdout.closed:
        return ""
    return process.communicate()[0]


def logs(data_dir: Path) -> str:
    """The ends of the suite's logs, for a failing test."""
    files = sorted((data_dir / "logs").glob("*.log"))
    return "\n".join(f"--- {file.name}\n{file.read_text()[-1500:]}" for file in files)


def wait_for(condition: Any, what: str, timeout: float = 60.0) -> Any:
    """Ask until the answer is true, and give it."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout:g} s"
        time.sleep(0.05)
    return answer
