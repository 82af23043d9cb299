import stat
from pathlib import Path
from typing import NoReturn

import pytest

from cli import keys
from cli.keys import OWN_KEY, OWN_PUBLIC_KEY, SUITE_KEYS, own_public_key, signing_key, trusted_keys
from services.common.errors import DomainError, Reason
from services.common.signing import SigningKey, make_key_file
from tests.support.keys import STRANGERS_KEY, TEST_KEY, signing_key_files, trusted_key_file


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for kind in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    return tmp_path


def test_a_key_of_ones_own_is_made_once_and_announced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = signing_key(None)
    said = capsys.readouterr()
    assert said.out == ""
    assert key.public.key_id in said.err
    assert str(home / "config" / "tenon" / OWN_KEY) in said.err
    public = home / "config" / "tenon" / OWN_PUBLIC_KEY
    assert f"pass {public} to --trust" in said.err
    assert public.read_bytes() == key.public.to_pem()
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert signing_key(None).public.key_id == key.public.key_id
    assert capsys.readouterr().err == ""
    assert trusted_keys(None, []).key_ids == (key.public.key_id,)


def test_the_public_half_of_an_older_key_is_written_and_another_file_is_left_alone(home: Path) -> None:
    place = home / "config" / "tenon"
    make_key_file(place / OWN_KEY)
    key = signing_key(None)
    public = place / OWN_PUBLIC_KEY
    assert public.read_bytes() == key.public.to_pem()
    public.write_text("mine")
    signing_key(None)
    assert public.read_text() == "mine"


def test_who_has_signed_before_can_be_told_the_file_of_the_public_half(home: Path) -> None:
    assert own_public_key([TEST_KEY.public.key_id]) is None
    key = signing_key(None)
    assert own_public_key([key.public.key_id]) == home / "config" / "tenon" / OWN_PUBLIC_KEY
    assert own_public_key([TEST_KEY.public.key_id]) is None


def test_a_private_key_among_the_trusted_ones_works_and_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = signing_key_files(home)
    key_id = SigningKey.load(private).public.key_id
    assert trusted_keys(None, [public]).key_ids == (key_id,)
    assert capsys.readouterr().err == ""
    for given in (private, home):
        assert trusted_keys(None, [given]).key_ids == (key_id,)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"{private} holds a private key; only its public half was used.")
        assert said.err.count("\n") == 1


def test_a_key_that_is_given_is_not_made(home: Path) -> None:
    private, _ = signing_key_files(home)
    signing_key(private)
    assert not (home / "config").exists()
    with pytest.raises(DomainError) as raised:
        signing_key(home / "missing.pem")
    assert raised.value.reason is Reason.KEY_INVALID


def test_a_user_without_a_home_must_say_which_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "config_directory", lambda: None)
    monkeypatch.setattr(keys, "data_directory", lambda: None)
    with pytest.raises(DomainError, match="--key") as raised:
        signing_key(None)
    assert raised.value.reason is Reason.SETTINGS_INVALID
    assert trusted_keys(None, []).key_ids == ()


def test_whom_one_trusts(home: Path) -> None:
    (home / "data" / "tenon" / SUITE_KEYS).mkdir(parents=True)
    assert trusted_keys(None, []).key_ids == ()
    trusted_key_file(home / "data" / "tenon" / SUITE_KEYS)
    assert trusted_keys(None, []).key_ids == (TEST_KEY.public.key_id,)
    assert trusted_keys(home / "another suite", []).key_ids == ()
    more = home / "more.pem"
    more.write_bytes(STRANGERS_KEY.public.to_pem())
    assert trusted_keys(home / "another suite", [more]).key_ids == (STRANGERS_KEY.public.key_id,)


def test_a_directory_that_may_not_be_searched_holds_no_keys(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    assert trusted_keys(None, []).key_ids == ()
    with pytest.raises(
        DomainError, match=r"own\.pem cannot be used: it cannot be written: Permission denied"
    ) as raised:
        signing_key(None)
    assert raised.value.reason is Reason.KEY_INVALID


def test_a_key_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def denied(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", denied)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DomainError, match=r"theirs\.pem cannot be used: it cannot be read") as raised:
        trusted_keys(None, [home / "theirs.pem"])
    assert raised.value.reason is Reason.KEY_INVALID


def test_a_directory_without_keys_is_told(home: Path) -> None:
    (home / "empty").mkdir()
    with pytest.raises(DomainError, match="holds no key") as caught:
        trusted_keys(None, [home / "empty"])
    assert caught.value.reason is Reason.KEY_INVALID
