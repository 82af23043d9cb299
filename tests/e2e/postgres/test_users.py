"""Root, whom Postgres does not accept, and ordinary users.

Which of these there are depends on who runs the tests: only root can become somebody else. Whoever runs them as an
ordinary user tests that user with every other test of this folder.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.suite.postgres.account import DEFAULT_UID
from cli.suite.postgres.programs import SHARED_COPY
from tests.e2e.postgres.conftest import Start
from tests.e2e.postgres.hosting import HOST, ORDINARY_UID, ROOT, reachable_by_others

if ROOT:

    def test_root_below_a_private_home_lends_the_server_another_user(up: Start, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        data_dir = home / "data of root"
        for _ in range(2):
            host = up(data_dir).wait_ready()
            process = Path(f"/proc/{host.postmaster()}")
            assert (process.stat().st_uid, process.stat().st_gid) == (DEFAULT_UID, DEFAULT_UID)
            assert (process / "exe").readlink().is_relative_to(SHARED_COPY)
            assert host.query("SELECT pg_reload_conf(), count(*) FROM pg_hba_file_rules")[0][0]
            host.stop()
        assert (data_dir / "postgres").stat().st_uid == 0
        assert {path.stat().st_uid for path in (data_dir / "postgres" / "data").rglob("*")} == {DEFAULT_UID}

    def test_the_uid_can_be_chosen(up: Start, tmp_path: Path) -> None:
        host = up(tmp_path / "data", env={"TENON_POSTGRES_UID": "61234"}).wait_ready()
        host.uids.append(61234)
        assert Path(f"/proc/{host.postmaster()}").stat().st_uid == 61234
        host.stop()

    def test_root_keeps_the_user_who_owns_the_data(up: Start, data_dir: Path) -> None:
        for folder, _, files in os.walk(data_dir / "postgres" / "data"):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, ORDINARY_UID, ORDINARY_UID)
        host = up(data_dir).wait_ready()
        assert Path(f"/proc/{host.postmaster()}").stat().st_uid == ORDINARY_UID
        host.stop()


if ROOT and reachable_by_others(Path(sys.executable)) and reachable_by_others(HOST):

    @pytest.fixture
    def own_place() -> Iterator[Path]:
        """A directory that the ordinary user owns and can reach; the tests' own lies below one that only root enters."""
        place = Path(tempfile.mkdtemp(prefix="tenon-"))
        os.chown(place, ORDINARY_UID, ORDINARY_UID)
        yield place
        shutil.rmtree(place)

    def test_an_ordinary_user_runs_it_as_themselves(up: Start, own_place: Path) -> None:
        data_dir = own_place / "share" / "tenon data"
        environment = {"HOME": str(own_place / "home"), "TMPDIR": "/nonexistent"}
        for _ in range(2):
            host = up(data_dir, uid=ORDINARY_UID, env=environment).wait_ready()
            process = Path(f"/proc/{host.postmaster()}")
            assert process.stat().st_uid == ORDINARY_UID
            assert not (process / "exe").readlink().is_relative_to(SHARED_COPY)
            host.stop()

    def test_an_ordinary_user_cannot_use_a_directory_of_root(up: Start, own_place: Path) -> None:
        data_dir = own_place / "of root"
        data_dir.mkdir(mode=0o755)
        refusal = up(data_dir, uid=ORDINARY_UID).refused()
        assert refusal.startswith(f"DATA_DIRECTORY_UNUSABLE: The data directory {data_dir} cannot be used: ")
        assert "--data-dir" in refusal
        assert list(data_dir.iterdir()) == []
