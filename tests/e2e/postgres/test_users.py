"""Root, whom Postgres does not accept, and ordinary users.

Which of these there are depends on who runs the tests: only root can become somebody else. Whoever runs them as an
ordinary user tests that user with every other test of this folder.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.suite.launcher import Identity
from cli.suite.postgres.account import give
from cli.suite.postgres.programs import SHARED_COPY
from tests.e2e.postgres.conftest import Start
from tests.e2e.postgres.hosting import NAMELESS_UID, ORDINARY_UID, ROOT
from tests.e2e.postgres.reachable import Python, build

CHOSEN_UID = 61234


def program(process: Path) -> Path:
    return Path((process / "cmdline").read_bytes().split(b"\0")[0].decode())


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in (directory, *directory.rglob("*"))}


if ROOT:

    def test_root_below_a_private_home_lends_the_server_another_user(up: Start, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        data_dir = home / "data of root"
        for _ in range(2):
            host = up(data_dir, env={"TENON_POSTGRES_UID": str(CHOSEN_UID)}).wait_ready()
            host.uids.append(CHOSEN_UID)
            process = Path(f"/proc/{host.postmaster()}")
            assert (process.stat().st_uid, process.stat().st_gid) == (CHOSEN_UID, CHOSEN_UID)
            assert program(process).is_relative_to(SHARED_COPY)
            assert host.query("SELECT pg_reload_conf(), count(*) > 0 FROM pg_hba_file_rules") == [(True, True)]
            host.stop()
        assert (data_dir / "postgres").stat().st_uid == 0
        assert owners(data_dir / "postgres" / "data") == {CHOSEN_UID}

    def test_root_keeps_the_user_who_owns_the_data(up: Start, data_dir: Path) -> None:
        give(data_dir / "postgres" / "data", Identity(ORDINARY_UID, ORDINARY_UID))
        host = up(data_dir).wait_ready()
        assert Path(f"/proc/{host.postmaster()}").stat().st_uid == ORDINARY_UID
        host.stop()

    @pytest.fixture(scope="module")
    def anybodys_python() -> Iterator[Python]:
        folder = Path(tempfile.mkdtemp(prefix="tenon-"))
        folder.chmod(0o755)
        yield build(folder)
        shutil.rmtree(folder)

    @pytest.fixture
    def own_place() -> Iterator[Path]:
        """A directory that the ordinary user owns and can reach; the tests' own lies below one that only root enters."""
        place = Path(tempfile.mkdtemp(prefix="tenon-"))
        os.chown(place, ORDINARY_UID, ORDINARY_UID)
        yield place
        shutil.rmtree(place)

    def test_an_ordinary_user_runs_it_as_themselves(up: Start, anybodys_python: Python, own_place: Path) -> None:
        data_dir = own_place / "share" / "tenon data"
        environment = {"HOME": str(own_place / "home"), "TMPDIR": "/nonexistent"}
        for _ in range(2):
            host = up(data_dir, uid=ORDINARY_UID, python=anybodys_python, env=environment).wait_ready()
            process = Path(f"/proc/{host.postmaster()}")
            assert process.stat().st_uid == ORDINARY_UID
            assert program(process).is_relative_to(anybodys_python.program.parents[1])
            host.stop()

    def test_an_ordinary_user_cannot_use_a_directory_of_root(
        up: Start, anybodys_python: Python, own_place: Path
    ) -> None:
        data_dir = own_place / "of root"
        data_dir.mkdir(mode=0o755)
        refusal = up(data_dir, uid=ORDINARY_UID, python=anybodys_python).refused()
        assert refusal.startswith(f"DATA_DIRECTORY_UNUSABLE: The data directory {data_dir} cannot be used: ")
        assert "--data-dir" in refusal
        assert list(data_dir.iterdir()) == []

    def test_a_user_without_a_name_learns_what_is_missing(up: Start, anybodys_python: Python, own_place: Path) -> None:
        os.chown(own_place, NAMELESS_UID, NAMELESS_UID)
        refusal = up(own_place / "data", uid=NAMELESS_UID, python=anybodys_python).refused()
        assert refusal.startswith("DATA_DIRECTORY_UNUSABLE: To make a database, ")
        assert f"uid {NAMELESS_UID}" in refusal
