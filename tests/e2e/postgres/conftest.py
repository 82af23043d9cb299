import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.postgres.hosting import Host, start

Start = Callable[..., Host]


@contextmanager
def starter() -> Iterator[Start]:
    """Start suites; what is left of them at the end is killed."""
    hosts: list[Host] = []

    def start_one(data_dir: Path, **options: Any) -> Host:
        hosts.append(start(data_dir, **options))
        return hosts[-1]

    try:
        yield start_one
    finally:
        for host in hosts:
            host.clear()


@pytest.fixture
def up() -> Iterator[Start]:
    with starter() as start_one:
        yield start_one


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was in use once, with a table `kept`."""
    data_dir = tmp_path_factory.mktemp("initialised") / "data"
    with starter() as start_one:
        host = start_one(data_dir).wait_ready()
        host.query("CREATE TABLE kept AS SELECT 42 AS answer")
        host.stop()
    return data_dir


@pytest.fixture(scope="session")
def one(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A suite that runs all the while, for tests that leave it as it is."""
    data_dir = shutil.copytree(initialised, tmp_path_factory.mktemp("one") / "data")
    with starter() as start_one:
        yield (host := start_one(Path(data_dir)).wait_ready())
        host.stop()


@pytest.fixture
def data_dir(initialised: Path, tmp_path: Path) -> Path:
    """A copy of that directory, with a space in its name; who owned what is not copied, as from a careless backup."""
    return Path(shutil.copytree(initialised, tmp_path / "data of mine"))
