import re
from pathlib import Path

import pytest

from cli.local_base import base_label, slug
from cli.output import printable
from services.common.resource_names import check_slug


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b"),
        ("tiny", "tiny"),
        ("ein Modell, 模型", "ein-modell"),
        ("模型", "base"),
        ("..", "base"),
        (f"{'x' * 62}-yz", "x" * 62),
    ],
)
def test_an_id_is_made_of_any_name(label: str, expected: str) -> None:
    assert slug(label) == expected
    assert check_slug(slug(label), "name") == expected


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
