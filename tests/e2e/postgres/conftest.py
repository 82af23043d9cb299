import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.postgres.hosting import Host, start

Start = Callable[..., Host]


@pytest.fixture
def up() -> Iterator[Start]:
    """Start suites; what is left of them at the end of the test is killed."""
    hosts: list[Host] = []

    def start_one(data_dir: Path, **options: Any) -> Host:
        hosts.append(start(data_dir, **options))
        return hosts[-1]

    yield start_one
    for host in hosts:
        if host.process.returncode is None:
            host.kill()
        for left in host.leftovers() if host.mark else ():
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        for pipe in (host.process.stdout, host.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was in use once, with a table `kept`."""
    data_dir = tmp_path_factory.mktemp("initialised") / "data"
    host = start(data_dir).wait_ready()
    try:
        host.query("CREATE TABLE kept AS SELECT 42 AS answer")
    finally:
        host.stop()
    return data_dir


@pytest.fixture
def data_dir(initialised: Path, tmp_path: Path) -> Path:
    """A copy of that directory, with a space in its name; who owned what is not copied, as from a careless backup."""
    return Path(shutil.copytree(initialised, tmp_path / "data of mine"))
