import pytest

from cli.output import shown_time


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
