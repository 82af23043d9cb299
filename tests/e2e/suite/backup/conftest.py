import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.suite.backup.taken import Taken, take
from tests.support.suite import RunningSuite, running_suite, tenon


@pytest.fixture(scope="session")
def taken(trained: RunningSuite, tmp_path_factory: pytest.TempPathFactory) -> Taken:
    return take(trained, tmp_path_factory.mktemp("backup"))


@pytest.fixture(scope="session")
def restored(taken: Taken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """The backup in an empty place, and up."""
    place = tmp_path_factory.mktemp("another machine") / "not there" / "yet"
    ran = tenon("restore", taken.archive, "--data-dir", place)
    assert ran.returncode == 0, ran.stderr
    with running_suite(place) as suite:
        yield suite


@pytest.fixture(scope="session")
def kept(taken: Taken, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup in an empty place, not up."""
    place = tmp_path_factory.mktemp("kept") / "data"
    ran = tenon("restore", taken.archive, data_dir=place)
    assert ran.returncode == 0, ran.stderr
    return place


@pytest.fixture
def stopped(kept: Path, tmp_path: Path) -> Path:
    """The data directory of a suite that does not run, for a test alone; where root runs it, all of it is root's now."""
    return Path(shutil.copytree(kept, tmp_path / "stopped"))
