"""Suites that are a database alone, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from cli.suite.leftovers import Leftover, find
from cli.suite.postgres.account import DEFAULT_UID

REPOSITORY = Path(__file__).parents[3]
HOST = Path(__file__).with_name("host.py")
ROOT = os.geteuid() == 0
SERVER_UID = DEFAULT_UID if ROOT else os.geteuid()
ORDINARY_UID = 54321
"""Has no account; used where the tests run as root."""


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this did not become true in time"
        time.sleep(0.01)


@dataclass
class Host:
    """One suite's process."""

    data_dir: Path
    process: subprocess.Popen[str]
    database_url: str = ""
    mark: str = ""
    uids: list[int] = field(default_factory=lambda: [os.geteuid(), SERVER_UID, ORDINARY_UID])

    def wait_ready(self) -> "Host":
        for line in self._stdout():
            if line.startswith("{"):
                found = json.loads(line)
                self.database_url, self.mark = found["database_url"], found["mark"]
            if line.startswith("tenon is ready at "):
                return self
        raise AssertionError(f"not ready; exit status {self.process.wait()}: {self.stderr()}")

    def _stdout(self) -> Any:
        return self.process.stdout

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def refused(self) -> str:
        """Wait for the end of a suite that must not start, and answer what it said."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 1, errors
        return errors

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def leftovers(self) -> list[Leftover]:
        return find(self.mark, self.uids)

    def postmaster(self) -> int:
        (found,) = [found for found in self.leftovers() if found.is_postmaster]
        return found.pid


def start(data_dir: Path, *, uid: int | None = None, env: Mapping[str, str] | None = None) -> Host:
    """Start a suite; with `uid` as that user, who has no other groups."""
    user: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "protos" / "gen")])
    process = subprocess.Popen(
        [sys.executable, str(HOST), str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        cwd="/",
        **user,
    )
    return Host(data_dir, process)


def reachable_by_others(path: Path) -> bool:
    """Whether a user who owns nothing may pass through all folders above `path`, and read it."""
    path = path.resolve()
    return all(part.stat().st_mode & 0o001 for part in path.parents) and bool(path.stat().st_mode & 0o004)
