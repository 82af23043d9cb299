import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.suite.postgres.lock_file import ready_port, remove_stale
from services.common.errors import DomainError, Reason
from tests.unit.suite.conftest import Eventually
from tests.unit.suite.programs import alive


def write(data: Path, pid: int | str) -> Path:
    file = data / "postmaster.pid"
    file.write_text(f"{pid}\n{data}\n1700000000\n5432\n\n127.0.0.1\n")
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is called postgres and works in tmp_path, as a server does."""
    code = 'open("/proc/self/comm", "w").write("postgres"); print("up", flush=True); import time; time.sleep(3600)'
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1, "", "no number"], ids=["reused", "free", "empty", "text"])
def test_the_file_of_a_server_that_is_gone_is_removed(tmp_path: Path, pid: int | str) -> None:
    file = write(tmp_path, pid)
    remove_stale(tmp_path)
    assert not file.exists()


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    remove_stale(tmp_path)


def test_the_file_of_a_server_that_runs_is_kept(tmp_path: Path, server: subprocess.Popen[str]) -> None:
    file = write(tmp_path, server.pid)
    with pytest.raises(DomainError, match=f"kill -INT {server.pid}") as raised:
        remove_stale(tmp_path)
    assert raised.value.reason is Reason.DATA_DIRECTORY_IN_USE
    assert file.exists()


async def test_the_file_of_a_server_that_nobody_has_reaped_is_removed(
    tmp_path: Path, server: subprocess.Popen[str], eventually: Eventually
) -> None:
    file = write(tmp_path, server.pid)
    os.kill(server.pid, signal.SIGKILL)
    await eventually(lambda: not alive(server.pid))
    remove_stale(tmp_path)
    assert not file.exists()


def test_a_server_on_other_data_is_no_obstacle(
    tmp_path_factory: pytest.TempPathFactory, server: subprocess.Popen[str]
) -> None:
    data = tmp_path_factory.mktemp("other")
    file = write(data, server.pid)
    remove_stale(data)
    assert not file.exists()


def test_the_port_is_known_once_the_server_is_ready(tmp_path: Path) -> None:
    assert ready_port(tmp_path) is None
    file = write(tmp_path, os.getpid())
    assert ready_port(tmp_path) is None
    for status, port in (("starting", None), ("stopping", None), ("ready   ", 5432)):
        file.write_text(f"{os.getpid()}\n{tmp_path}\n1700000000\n5432\n\n127.0.0.1\n  5432001   0\n{status}\n")
        assert ready_port(tmp_path) == port
