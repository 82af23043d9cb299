import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.suite import launcher
from cli.suite.launcher import Identity, wrap
from tests.unit.suite.conftest import Eventually
from tests.unit.suite.programs import alive

REPORT = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import os, sys; print(os.getppid(), os.getuid(), os.getgid(), sys.argv[1:])",
)

# A parent that starts a child through the launcher, says its number, and waits.
PARENT = """
import runpy, signal, subprocess, sys, time
sys.path.insert(0, {folder!r})
import launcher
child = ["{python}", "-I", "-S", "-c", {child!r}]
started = subprocess.Popen(launcher.wrap(child, death_signal=signal.{death}), stdout=subprocess.PIPE, text=True)
print(started.pid, started.stdout.readline().strip(), flush=True)
time.sleep(3600)
"""


def test_the_program_gets_its_arguments_as_they_are() -> None:
    argv = wrap([*REPORT, "two words", "--parent", "", "ärger"], death_signal=signal.SIGKILL)
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert output == f"{os.getpid()} {os.getuid()} {os.getgid()} ['two words', '--parent', '', 'ärger']\n"


def test_it_starts_nothing_for_another_parent() -> None:
    argv = wrap(REPORT, death_signal=signal.SIGKILL)
    argv[argv.index("--parent") + 1] = "1"
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ended already" in ended.stderr


@pytest.mark.parametrize("death", ["SIGKILL", "SIGINT"])
async def test_the_program_ends_when_its_parent_is_killed(eventually: Eventually, tmp_path: Path, death: str) -> None:
    child = 'import time; print("up", flush=True); time.sleep(3600)'
    text = PARENT.format(folder=str(Path(launcher.__file__).parent), python=sys.executable, child=child, death=death)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pid, word = (await parent.stdout.readline()).split()
    assert word == b"up"
    assert alive(int(pid))
    parent.kill()
    await parent.communicate()
    await eventually(lambda: not alive(int(pid)))


if os.geteuid() == 0:

    def test_root_can_start_the_program_as_somebody_else() -> None:
        show = ("/bin/sh", "-c", "id -u; id -g; id -G; umask")
        argv = wrap(show, death_signal=signal.SIGKILL, identity=Identity(54321, 54322))
        output = subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout
        assert output.split() == ["54321", "54322", "54322", "0077"]

else:

    def test_others_cannot_start_the_program_as_somebody_else() -> None:
        argv = wrap(REPORT, death_signal=signal.SIGKILL, identity=Identity(1, 1))
        ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "TENON_POSTGRES_UID" in ended.stderr
