import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli.suite.data_directory import DataDirectory, open_data_directory
from cli.suite.keys import SuiteKeys, prepare_keys
from cli.suite.options import UpOptions
from cli.suite.ports import Address
from services.common.auth.keys import is_key
from services.common.errors import DomainError, Reason
from services.common.signing import PublicKey, SigningKey, TrustedKeys, make_key_file
from tests.support.keys import trusted_key_file


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return open_data_directory(tmp_path / "data")


@pytest.fixture
def options(directory: DataDirectory) -> UpOptions:
    return UpOptions(directory.root, Address("127.0.0.1", 0))


def key_ids(keys: SuiteKeys) -> set[str]:
    return set(TrustedKeys.load(keys.trusted).key_ids)


def test_the_first_start_makes_a_key_that_is_trusted(directory: DataDirectory, options: UpOptions) -> None:
    keys = prepare_keys(directory, options)
    assert keys == SuiteKeys(directory.signing_key, (directory.trusted_keys,), directory.admin_key)
    assert stat.S_IMODE(keys.signing.stat().st_mode) == 0o600
    assert [file.name for file in directory.trusted_keys.iterdir()] == ["suite.pem"]
    assert key_ids(keys) == {SigningKey.load(keys.signing).public.key_id}
    assert b"PRIVATE" not in (directory.trusted_keys / "suite.pem").read_bytes()


def test_the_admin_key_is_made_once_and_shown_to_its_owner_alone(directory: DataDirectory, options: UpOptions) -> None:
    keys = prepare_keys(directory, options)
    key = keys.admin.read_text().strip()
    assert is_key(key)
    assert stat.S_IMODE(keys.admin.stat().st_mode) == 0o600
    again = prepare_keys(directory, options)
    assert again.admin.read_text().strip() == key
    assert again.service_token != keys.service_token
    assert keys.service_token.get_secret_value() not in repr(keys)


def test_keys_that_are_lost_are_told_once(
    directory: DataDirectory, options: UpOptions, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_keys(directory, options)
    assert caplog.text == "", "on the first start there is nothing to lose"
    (directory.postgres / "data").mkdir()
    prepare_keys(directory, options)
    assert caplog.text == ""

    shutil.rmtree(directory.keys)
    prepare_keys(open_data_directory(directory.root), options)
    assert caplog.text.count("\n") == 1
    assert f"The keys in {directory.keys} are gone" in caplog.text
    assert str(directory.trusted_keys) in caplog.text
    caplog.clear()
    prepare_keys(directory, options)
    assert caplog.text == ""


def test_whoever_chose_their_keys_has_not_lost_any(
    directory: DataDirectory, options: UpOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (directory.postgres / "data").mkdir()
    make_key_file(tmp_path / "mine.pem")
    prepare_keys(directory, replace(options, signing_key_file=tmp_path / "mine.pem"))
    assert caplog.text == ""


def test_a_directory_from_before_there_were_keys_gets_them(directory: DataDirectory, options: UpOptions) -> None:
    directory.keys.rmdir()
    assert prepare_keys(open_data_directory(directory.root), options).signing.exists()


def test_the_next_start_uses_the_same_and_mends_what_is_missing(directory: DataDirectory, options: UpOptions) -> None:
    keys = prepare_keys(directory, options)
    before = keys.signing.read_bytes(), (directory.trusted_keys / "suite.pem").read_bytes()
    (directory.trusted_keys / "suite.pem").unlink()
    assert prepare_keys(directory, options) == keys
    assert (keys.signing.read_bytes(), (directory.trusted_keys / "suite.pem").read_bytes()) == before


def test_after_a_change_of_key_both_are_trusted(directory: DataDirectory, options: UpOptions) -> None:
    old = key_ids(prepare_keys(directory, options))
    directory.signing_key.unlink()
    keys = prepare_keys(directory, options)
    new = SigningKey.load(keys.signing).public.key_id
    assert key_ids(keys) == old | {new}
    assert {file.name for file in directory.trusted_keys.iterdir()} == {"suite.pem", f"suite-{new[:12]}.pem"}
    assert prepare_keys(directory, options) == keys
    assert len(list(directory.trusted_keys.iterdir())) == 2


def test_a_persons_own_key_signs_and_is_trusted(directory: DataDirectory, options: UpOptions, tmp_path: Path) -> None:
    mine = make_key_file(tmp_path / "mine.pem")
    keys = prepare_keys(directory, replace(options, signing_key_file=tmp_path / "mine.pem"))
    assert keys == SuiteKeys(tmp_path / "mine.pem", (directory.trusted_keys,), directory.admin_key)
    assert key_ids(keys) == {mine.public.key_id}
    assert not directory.signing_key.exists()


def test_a_persons_own_trust_counts_and_the_suite_trusts_itself(
    directory: DataDirectory, options: UpOptions, tmp_path: Path
) -> None:
    theirs = trusted_key_file(tmp_path)
    keys = prepare_keys(directory, replace(options, trusted_keys=(theirs,)))
    assert keys.trusted == (theirs, directory.trusted_keys / "suite.pem")
    public = tmp_path / "suites.pem"
    public.write_bytes(SigningKey.load(directory.signing_key).public.to_pem())
    assert prepare_keys(directory, replace(options, trusted_keys=(public,))).trusted == (public,)


@pytest.mark.parametrize("file", ["signing.pem", "trusted/other.pem"])
def test_a_key_that_cannot_be_used_is_named(directory: DataDirectory, options: UpOptions, file: str) -> None:
    prepare_keys(directory, options)
    (directory.keys / file).write_text("no key")
    with pytest.raises(DomainError, match=file) as caught:
        prepare_keys(directory, options)
    assert caught.value.reason is Reason.KEY_INVALID


def test_a_persons_key_that_is_missing_is_not_made(
    directory: DataDirectory, options: UpOptions, tmp_path: Path
) -> None:
    with pytest.raises(DomainError, match="nowhere") as caught:
        prepare_keys(directory, replace(options, signing_key_file=tmp_path / "nowhere.pem"))
    assert caught.value.reason is Reason.KEY_INVALID
    assert not list(tmp_path.glob("nowhere*"))


def test_a_place_for_keys_that_is_none_is_named(directory: DataDirectory, options: UpOptions) -> None:
    directory.trusted_keys.write_text("")
    with pytest.raises(DomainError, match="trusted") as caught:
        prepare_keys(directory, options)
    assert caught.value.reason is Reason.DATA_DIRECTORY_UNUSABLE


def test_the_private_key_is_never_shown(directory: DataDirectory, options: UpOptions) -> None:
    keys = prepare_keys(directory, options)
    secret = keys.signing.read_text().splitlines()[1]
    assert secret not in repr(keys)
    assert PublicKey.load(keys.signing).key_id not in repr(keys)
