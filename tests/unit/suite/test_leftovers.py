import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.suite.leftovers import MARK_VARIABLE, end_postgres, end_services, find
from tests.unit.suite.programs import alive, environment

WAIT = 'import time; print("up", flush=True); time.sleep(3600)'


@pytest.fixture
def postgres_program(tmp_path: Path) -> Path:
    """A Python that is called as the server is."""
    program = tmp_path / "postgres"
    program.symlink_to(Path(sys.executable).resolve())
    return program


@asynccontextmanager
async def process(*argv: str, mark: str | None) -> AsyncIterator[asyncio.subprocess.Process]:
    env = environment({} if mark is None else {MARK_VARIABLE: mark})
    started = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=env)
    assert started.stdout is not None
    try:
        assert await started.stdout.readline() == b"up\n"
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_marked_processes_are_ended_and_no_others() -> None:
    mark, other = (f"tenon-test-{secrets.token_hex(8)}" for _ in range(2))
    program = (sys.executable, "-I", "-S", "-c", WAIT)
    async with (
        process(*program, mark=mark) as ours,
        process(*program, mark=other) as theirs,
        process(*program, mark=None) as anybody,
    ):
        assert [found.pid for found in find(mark, [os.geteuid()])] == [ours.pid]
        assert find(mark, [os.geteuid() + 1]) == []
        await end_services(mark)
        assert not alive(ours.pid)
        assert find(mark, [os.geteuid()]) == []
        assert alive(theirs.pid)
        assert alive(anybody.pid)


async def test_a_server_that_ignores_polite_signals_is_killed(postgres_program: Path) -> None:
    mark = f"tenon-test-{secrets.token_hex(8)}"
    ignore = f"import signal; [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGQUIT)]; {WAIT}"
    # argv as a postmaster has it; the program itself ignores the option.
    argv = (str(postgres_program), "-I", "-S", "-c", ignore, "-c", f"cluster_name={mark}")
    async with process(*argv, mark=None) as server:
        (found,) = find(mark, [os.geteuid()])
        assert (found.pid, found.is_postgres, found.is_postmaster) == (server.pid, True, True)
        await end_services(mark)
        assert alive(server.pid)
        await end_postgres(mark, os.geteuid(), polite_seconds=0.1)
        assert not alive(server.pid)
