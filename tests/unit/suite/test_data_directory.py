from pathlib import Path

import pytest

from cli.suite.data_directory import open_data_directory
from services.common.errors import DomainError, Reason


def test_the_layout_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "a" / "data dir"
    open_data_directory(root)
    assert {path.name for path in root.iterdir()} == {"format", "postgres", "artifacts", "keys", "cache", "logs", "run"}
    assert {path.stat().st_mode & 0o077 for path in (root, *root.iterdir())} == {0}
    assert (root / "format").read_text() == "1\n"


def test_what_is_there_stays(tmp_path: Path) -> None:
    open_data_directory(tmp_path)
    (tmp_path / "artifacts" / "mine").write_text("x")
    open_data_directory(tmp_path)
    assert (tmp_path / "artifacts" / "mine").read_text() == "x"


@pytest.mark.parametrize("text", ["2", "0", "", "1.0", "-1", "¹", "1" * 5000])
def test_another_format_is_refused_and_nothing_made(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)
    with pytest.raises(DomainError, match="knows format 1") as raised:
        open_data_directory(tmp_path)
    assert raised.value.reason is Reason.DATA_DIRECTORY_INCOMPATIBLE
    assert len(raised.value.message) < 500
    assert [path.name for path in tmp_path.iterdir()] == ["format"]


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path)
    with directory.locked():
        with pytest.raises(DomainError, match="--data-dir") as raised, open_data_directory(tmp_path).locked():
            pytest.fail("it must not be had twice")
        assert raised.value.reason is Reason.DATA_DIRECTORY_IN_USE
    with directory.locked():
        pass


def test_marks_tell_directories_apart(tmp_path: Path) -> None:
    one, other = open_data_directory(tmp_path / "one"), open_data_directory(tmp_path / "other")
    assert one.mark != other.mark
    assert one.mark == open_data_directory(tmp_path / "one").mark


def test_what_a_killed_suite_left_is_forgotten(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path)
    directory.forget_last_run()
    (directory.uploads / "half").write_text("x")
    directory.endpoints.write_text("{}")
    directory.forget_last_run()
    assert list(directory.uploads.iterdir()) == []
    assert not directory.endpoints.exists()
