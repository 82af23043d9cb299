import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.suite.postgres.programs import installed_programs, shared_programs, wheel_files
from services.common.errors import DomainError, Reason


def test_the_installed_programs_are_found() -> None:
    programs = installed_programs()
    assert os.access(programs.postgres, os.X_OK)
    assert os.access(programs.initdb, os.X_OK)


def test_only_what_a_server_needs_is_listed() -> None:
    names = {Path(file.name).name for file in wheel_files()}
    assert {"postgres", "initdb", "plpgsql.so", "postgres.bki"} <= names
    assert not {"psql", "pg_dump", "postgres.h"} & names


if os.geteuid() == 0:
    # The copy is for root, and lies where every folder above it is root's; a test's own folder is below a writable one.

    @pytest.fixture
    def cache() -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir="/var/cache", prefix="tenon-test-") as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_a_copy_is_made_once(cache: Path) -> None:
        programs = shared_programs(cache)
        made = programs.postgres.stat()
        assert shared_programs(cache) == programs
        assert programs.postgres.stat().st_ino == made.st_ino
        assert made.st_mode & 0o777 == 0o755
        assert [path.name[:12] for path in cache.iterdir()] == ["postgres-18-"]

    @pytest.mark.parametrize("damage", ["chmod 777", "chown 54321", "truncate -s 0", "rm"])
    def test_a_damaged_copy_is_replaced(cache: Path, damage: str) -> None:
        postgres = shared_programs(cache).postgres
        size = postgres.stat().st_size
        assert os.system(f"{damage} '{postgres}'") == 0
        found = shared_programs(cache).postgres.stat()
        assert (found.st_size, found.st_uid, found.st_mode & 0o777) == (size, 0, 0o755)
        assert len(list(cache.iterdir())) == 1

    @pytest.mark.parametrize("mode", [0o777, 0o700])
    def test_a_place_that_others_can_write_or_nobody_can_reach_is_refused(cache: Path, mode: int) -> None:
        cache.chmod(mode)
        with pytest.raises(DomainError, match="others than root can") as raised:
            shared_programs(cache)
        assert raised.value.reason is Reason.DATA_DIRECTORY_UNUSABLE
