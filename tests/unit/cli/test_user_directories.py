from collections.abc import Callable
from pathlib import Path

import pytest

from cli.user_directories import cache_directory, config_directory, data_directory

PLACES: dict[str, tuple[Callable[[], Path | None], str]] = {
    "XDG_CONFIG_HOME": (config_directory, ".config"),
    "XDG_DATA_HOME": (data_directory, ".local/share"),
    "XDG_CACHE_HOME": (cache_directory, ".cache"),
}


@pytest.mark.parametrize("variable", PLACES)
def test_the_environment_says_where_else_the_home_does(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    place, below_home = PLACES[variable]
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv(variable, "/somewhere else")
    assert place() == Path("/somewhere else/tenon")
    for nothing in ("", "relative/path"):
        monkeypatch.setenv(variable, nothing)
        assert place() == Path("/home/somebody", below_home, "tenon")


def test_some_users_have_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for variable, (place, _) in PLACES.items():
        monkeypatch.delenv(variable, raising=False)
        assert place() is None
