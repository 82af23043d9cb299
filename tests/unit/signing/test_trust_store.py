"""Keys that are added and withdrawn while a service runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.signing import TrustStore, sign
from tests.support.keys import STRANGERS_KEY, TEST_KEY

MANIFEST = b"{}"
BY_TEST, BY_STRANGER = (sign(MANIFEST, key).to_bytes() for key in (TEST_KEY, STRANGERS_KEY))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the test key."""
    (tmp_path / "one.pem").write_bytes(TEST_KEY.public.to_pem())
    return tmp_path


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(DomainError) as caught:
        call()
    return caught.value.reason


def test_a_key_that_is_added_is_believed_from_then_on(folder: Path) -> None:
    trust = TrustStore.open([folder])
    assert trust.verify(BY_TEST, MANIFEST) == TEST_KEY.public.key_id
    assert reason_of(lambda: trust.verify(BY_STRANGER, MANIFEST)) is Reason.SIGNATURE_UNTRUSTED
    (folder / "two.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    assert trust.verify(BY_STRANGER, MANIFEST) == STRANGERS_KEY.public.key_id
    assert trust.verify(BY_TEST, MANIFEST) == TEST_KEY.public.key_id


def test_a_key_that_is_withdrawn_is_believed_no_more(folder: Path) -> None:
    trust = TrustStore.open([folder])
    (folder / "one.pem").unlink()
    assert reason_of(lambda: trust.verify(BY_TEST, MANIFEST)) is Reason.SIGNATURE_UNTRUSTED
    (folder / "one.pem").write_bytes(TEST_KEY.public.to_pem())
    assert trust.valid_signatures(BY_TEST, MANIFEST).keys() == {TEST_KEY.public.key_id}


def test_a_file_that_is_replaced_is_read_again(folder: Path) -> None:
    trust = TrustStore.open([folder / "one.pem"])
    (folder / "new").write_bytes(STRANGERS_KEY.public.to_pem())
    (folder / "new").rename(folder / "one.pem")
    assert trust.current().key_ids == (STRANGERS_KEY.public.key_id,)


def test_the_keys_are_the_same_object_while_no_file_changes(folder: Path) -> None:
    trust = TrustStore.open([folder])
    assert trust.current() is trust.current()
    before = trust.current()
    (folder / "two.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    assert trust.current() is not before


def test_what_becomes_no_key_keeps_no_other_trusted_and_none_out(folder: Path) -> None:
    (folder / "two.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    trust = TrustStore.open([folder])
    (folder / "one.pem").unlink()
    (folder / "half.pem").write_text("-----BEGIN PUB")
    assert trust.current().key_ids == (STRANGERS_KEY.public.key_id,)


def test_a_directory_that_vanishes_leaves_nobody_trusted(folder: Path) -> None:
    trust = TrustStore.open([folder])
    folder.rename(folder.with_name("away"))
    assert trust.current().key_ids == ()


@pytest.mark.parametrize("content", [None, "no key"], ids=["missing", "no-key"])
def test_at_first_every_file_must_be_a_key(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_text(content)
    assert reason_of(lambda: TrustStore.open([file])) is Reason.KEY_INVALID
