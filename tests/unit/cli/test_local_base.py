import re
from pathlib import Path

import pytest

from cli.local_base import base_label, open_local_base, slug
from cli.output import printable
from services.common.errors import DomainError, Reason
from services.common.resource_names import check_slug


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b"),
        ("tiny", "tiny"),
        ("Ein Modell, (neu)", "ein-modell-neu"),
        ("smile ☺ …", "smile"),
        (f"{'x' * 62}-yz", "x" * 62),
    ],
)
def test_an_id_is_made_of_any_name(label: str, expected: str) -> None:
    assert slug(label, option="--name") == expected
    assert check_slug(slug(label, option="--name"), "name") == expected


@pytest.mark.parametrize(
    "label",
    ["плагин 猴", "base копия", "模型", "cafe\u0301", "٣", "..", "", "☺"],
    ids=["no-ascii", "a-part", "chinese", "accent", "digit", "dots", "empty", "symbol"],
)
def test_an_id_is_not_made_of_a_name_that_would_be_lost(label: str) -> None:
    with pytest.raises(DomainError, match="Give one with --base-name") as raised:
        slug(label, option="--base-name")
    assert raised.value.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize("given", ["qwen2-small", "hf://Qwen/Qwen2.5-0.5B", "file:///models/x"])
def test_names_and_sources_are_no_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DomainError, match="This command takes the directory of a base") as raised:
        open_local_base(Path(given))
    assert raised.value.reason is Reason.BASE_NOT_A_MODEL
    (tmp_path / "empty").mkdir()
    for directory in (Path("empty"), tmp_path / "missing"):
        with pytest.raises(DomainError, match="is not a base model") as raised:
            open_local_base(directory)
        assert "This command" not in raised.value.message


def test_a_base_is_called_as_its_directory_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "the base"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(place)
    assert base_label(Path()) == "the base"
    assert base_label(Path("..") / "link") == "link"
    assert base_label(Path(f"{place}/")) == "the base"
    assert base_label(Path("/")) == "this base"


def test_what_a_stranger_wrote_does_not_move_the_cursor() -> None:
    assert printable("\x1b[2Jok\r\x9b1m\u202e\udcff") == r"\x1b[2Jok\r\x9b1m\u202e\udcff"
    assert printable("two lines\nof 悟空") == "two lines\nof 悟空"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printable("".join(map(chr, range(0x100)))))
