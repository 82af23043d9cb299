"""Suites that are a database alone, each in a process of its own."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from cli.suite.leftovers import Leftover, find
from cli.suite.postgres.account import DEFAULT_UID
from tests.e2e.postgres.reachable import REPOSITORY, Python

HOST = Path(__file__).with_name("host.py")
ROOT = os.geteuid() == 0
SERVER_UID = DEFAULT_UID if ROOT else os.geteuid()
ORDINARY_UID = pwd.getpwnam("nobody").pw_uid
NAMELESS_UID = 54321
"""Whom tests that run as root become."""


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
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found = json.loads(line)
                self.database_url, self.mark = found["database_url"], found["mark"]
            if line.startswith("tenon is ready at "):
                return self
        raise AssertionError(f"not ready; exit status {self.process.wait()}: {self.process.communicate()[1]}")

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

    def clear(self) -> None:
        """Kill whatever is left."""
        if self.process.returncode is None:
            self.kill()
        for left in self.leftovers() if self.mark else ():
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def leftovers(self) -> list[Leftover]:
        return find(self.mark, self.uids)

    def postmaster(self) -> int:
        (found,) = [found for found in self.leftovers() if found.is_postmaster]
        return found.pid


def start(
    data_dir: Path, *, uid: int | None = None, python: Python | None = None, env: Mapping[str, str] | None = None
) -> Host:
    """Start a suite.

    Args:
        data_dir: of the suite.
        uid: start it as this user, who has no other groups.
        python: an interpreter that finds the suite by itself; None: this one.
        env: more than this process has.
    """
    user: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    here = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "protos" / "gen")])
    program, needs = (python.program, python.env) if python else (sys.executable, {"PYTHONPATH": here})
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [str(program), "-c", HOST.read_text(), str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **needs, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        cwd="/",
        **user,
    )
    return Host(data_dir, process)
