import sys

import pytest
from rich.cells import cell_len
from rich.text import Text

from cli.output import CommandError, exit_code, interruptible, is_coloured, print_error, print_table, shown_time
from services.common.errors import DomainError, Reason


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


@pytest.mark.parametrize(
    ("width", "columns"), [(80, ["ID", "TEXT", "CREATED"]), (60, ["ID", "TEXT"]), (46, ["ID"]), (8, ["ID"])]
)
def test_a_terminal_without_room_does_without_what_can_be_spared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, columns: list[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(ROWS, COLUMNS, empty="none", spare=("created", "text"))
    text = Text.from_ansi(capsys.readouterr().out).plain
    assert text.splitlines()[0].split() == columns
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    print_table(ROWS, COLUMNS, empty="none", spare=("created", "text"))
    assert capsys.readouterr().out.splitlines()[0].split() == list(COLUMNS.values())


def test_every_kind_of_failure_has_its_exit_status() -> None:
    codes = {
        Reason.INVALID_ARGUMENT: 2,
        Reason.LIMIT_EXCEEDED: 2,
        Reason.ADAPTER_BASE_MISMATCH: 3,
        Reason.ADAPTER_NOT_FOUND: 4,
        Reason.SERVICE_UNAVAILABLE: 5,
        Reason.DATABASE_UNAVAILABLE: 5,
        Reason.UNAUTHENTICATED: 6,
        Reason.PERMISSION_DENIED: 6,
        Reason.PROJECT_EXISTS: 1,
        Reason.RATE_LIMITED: 1,
        Reason.DEADLINE_EXCEEDED: 1,
        Reason.INTERNAL: 1,
    }
    assert {reason: exit_code(DomainError(reason, "x")) for reason in codes} == codes


def test_an_interrupt_is_told_with_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError) as ended, interruptible("The job goes on."):
        raise KeyboardInterrupt
    assert ended.value.status == 130
    print_error(ended.value.error)
    assert capsys.readouterr().err == "Interrupted. The job goes on.\n"


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert is_coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_coloured()
