import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.suite import endpoints_guard
from cli.suite.endpoints import published


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "endpoints of mine.json"


async def test_the_file_is_there_inside_the_block(file: Path) -> None:
    async with published(file, {"gateway": "http://127.0.0.1:8600"}):
        assert json.loads(await asyncio.to_thread(file.read_text)) == {"gateway": "http://127.0.0.1:8600"}
    assert not await asyncio.to_thread(file.exists)


def guard(file: Path, inode: int) -> None:
    """Run a guard whose parent's end of the pipe has closed."""
    command = [sys.executable, "-I", "-S", endpoints_guard.__file__, str(file), str(inode)]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=30)


def test_the_guard_removes_the_file_of_its_suite(file: Path) -> None:
    file.write_text("{}")
    guard(file, file.stat().st_ino)
    assert not file.exists()


def test_the_guard_leaves_the_file_of_another_suite(file: Path) -> None:
    file.write_text("{}")
    guard(file, file.stat().st_ino + 1)
    assert file.exists()


def test_the_guard_waits(file: Path) -> None:
    file.write_text("{}")
    command = [sys.executable, "-I", "-S", endpoints_guard.__file__, str(file), str(file.stat().st_ino)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        waiting.send_signal(signal.SIGKILL)
    assert file.exists()
