from pathlib import Path

import pytest

from cli.suite.options import UpOptions
from services.common.errors import DomainError, Reason

KEYS = ("TENON_SIGNING_KEY_FILE", "TENON_TRUSTED_KEYS")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TENON_DATA_DIR", "TENON_LISTEN", "TENON_POSTGRES_UID", "XDG_DATA_HOME", *KEYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")


def test_defaults() -> None:
    options = UpOptions.resolve()
    assert options.data_dir == Path("/home/somebody/.local/share/tenon")
    assert str(options.listen) == "127.0.0.1:8600"
    assert options.postgres_uid == 55432
    assert (options.signing_key_file, options.trusted_keys) == (None, ())


def test_the_environment_goes_before_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert UpOptions.resolve().data_dir == Path("/xdg/tenon")
    monkeypatch.setenv("TENON_DATA_DIR", "/data dir")
    monkeypatch.setenv("TENON_LISTEN", "127.0.0.1:9000")
    monkeypatch.setenv("TENON_POSTGRES_UID", "70")
    options = UpOptions.resolve()
    assert (options.data_dir, str(options.listen), options.postgres_uid) == (Path("/data dir"), "127.0.0.1:9000", 70)


def test_the_keys_of_the_environment_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENON_SIGNING_KEY_FILE", "mine.pem")
    monkeypatch.setenv("TENON_TRUSTED_KEYS", '["/keys", "others"]')
    options = UpOptions.resolve()
    assert options.signing_key_file == tmp_path / "mine.pem"
    assert options.trusted_keys == (Path("/keys"), tmp_path / "others")


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENON_DATA_DIR", "/data")
    monkeypatch.setenv("TENON_LISTEN", "127.0.0.1:9000")
    options = UpOptions.resolve(Path("/flag"), ":0")
    assert (options.data_dir, str(options.listen)) == (Path("/flag"), "127.0.0.1:0")


def test_a_relative_xdg_data_home_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    assert UpOptions.resolve().data_dir == Path("/home/somebody/.local/share/tenon")


@pytest.mark.parametrize("uid", ["0", "root", "4294967295"])
def test_postgres_cannot_be_told_to_run_as_root(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    monkeypatch.setenv("TENON_POSTGRES_UID", uid)
    with pytest.raises(DomainError, match="TENON_POSTGRES_UID") as raised:
        UpOptions.resolve()
    assert raised.value.reason is Reason.SETTINGS_INVALID
