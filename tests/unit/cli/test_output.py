import sys

import pytest
from rich.cells import cell_len
from rich.text import Text

from cli.output import print_table, shown_time


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-11-24T02:42:11.443732Z", "2026-11-24 02:42:11"),
        ("2026-11-24T02:42:11+02:00", "2026-11-24 00:42:11"),
        (None, ""),
    ],
)
def test_times_are_short(time: str | None, shown: str) -> None:
    assert shown_time(time) == shown


COLUMNS = {"id": "ID", "text": "TEXT", "created": "CREATED"}
ROWS: list[dict[str, str | None]] = [
    {"id": "f" * 12, "text": "eine lange Beschreibung, 很长的说明", "created": "2026-11-24 02:42:11"},
    {"id": "[b]", "text": None, "created": ""},
]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_table(ROWS, COLUMNS, empty="none", whole=("id", "created"))
    return capsys.readouterr().out.splitlines()


def test_what_is_no_terminal_gets_a_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = printed(capsys)
    assert len(lines) == 1 + len(ROWS)
    assert lines[1].endswith("2026-11-24 02:42:11")
    assert lines[2] == "[b]"


@pytest.mark.parametrize(("width", "whole"), [(60, True), (45, True), (39, True), (38, False), (20, False)])
def test_ids_and_times_are_whole_on_a_terminal_while_the_rest_can_make_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, whole: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    text = Text.from_ansi("\n".join(printed(capsys))).plain
    assert ("f" * 12 in text and "2026-11-24 02:42:11" in text) is whole
    assert ("f" * 12 in text) is (width >= 24), "the first of them is the last to be broken"
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert text.count("f") == 12, "nothing is cut off"
    assert sum(text.count(digit) for digit in "0123456789") == 14
