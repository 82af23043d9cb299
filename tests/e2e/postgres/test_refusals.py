"""Data directories that cannot be used, each refused before anything in it is changed."""

from pathlib import Path

from tests.e2e.postgres.conftest import Start


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_newer_format(up: Start, tmp_path: Path) -> None:
    (tmp_path / "format").write_text("2\n")
    before = everything(tmp_path)
    refusal = up(tmp_path).refused()
    assert refusal.startswith("DATA_DIRECTORY_INCOMPATIBLE: ")
    assert "has format '2'; this version of Tenon knows format 1" in refusal
    assert everything(tmp_path) == before


def test_a_format_that_is_no_number(up: Start, tmp_path: Path) -> None:
    (tmp_path / "format").write_bytes(b"\xff\xfe")
    assert up(tmp_path).refused().startswith("DATA_DIRECTORY_INCOMPATIBLE: ")


def test_a_database_of_another_major_version(up: Start, data_dir: Path) -> None:
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    before = everything(data_dir / "postgres")
    refusal = up(data_dir).refused()
    assert refusal.startswith("DATA_DIRECTORY_INCOMPATIBLE: ")
    assert "was made by PostgreSQL 17; this version of Tenon brings PostgreSQL 18" in refusal
    assert everything(data_dir / "postgres") == before


def test_a_file_where_the_directory_should_be(up: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    refusal = up(tmp_path / "data").refused()
    assert refusal.startswith("DATA_DIRECTORY_UNUSABLE: ")
    assert (tmp_path / "data").read_text() == "mine"


def test_a_directory_below_a_file(up: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert up(tmp_path / "file" / "data").refused().startswith("DATA_DIRECTORY_UNUSABLE: ")


def test_a_read_only_file_system(up: Start) -> None:
    # /proc refuses new directories to everybody, as a read-only file system does.
    assert up(Path("/proc/tenon-data")).refused().startswith("DATA_DIRECTORY_UNUSABLE: ")


def test_a_lost_password(up: Start, data_dir: Path) -> None:
    (data_dir / "postgres" / "password").unlink()
    refusal = up(data_dir).refused()
    assert refusal.startswith("DATA_DIRECTORY_UNUSABLE: ")
    assert "password" in refusal
