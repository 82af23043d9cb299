import json
import time
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, DigestCache, fingerprint_base, open_base
from services.common.identity.cache import SETTLED_NS
from tests.unit.identity.build import Base

POISON = "00" * 32


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A base that was written long enough ago to be remembered."""
    directory = Base(shards=2).write(tmp_path / "base")
    newest = max(path.stat().st_ctime_ns for path in directory.iterdir())
    while time.time_ns() - newest <= SETTLED_NS:
        time.sleep(0.01)
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "digests"


def poison(store: Path) -> None:
    """Replace what is remembered, so that an answer from the cache shows."""
    for path in set(store.iterdir()) - set(store.glob("document-*")):
        entry = json.loads(path.read_text())
        entry["digests"] = dict.fromkeys(entry["digests"], POISON)
        path.write_text(json.dumps(entry))


def contents(fingerprint: BaseFingerprint) -> set[str]:
    return {leaf.content for leaf in fingerprint.tensors}


def test_the_second_time_is_answered_from_the_cache(directory: Path, store: Path) -> None:
    plain = fingerprint_base(directory)
    assert fingerprint_base(directory, cache=DigestCache(store)) == plain
    assert fingerprint_base(directory, cache=DigestCache(store)) == plain
    poison(store)
    assert contents(fingerprint_base(directory, cache=DigestCache(store))) == {POISON}


def test_verify_always_hashes_again_and_repairs(directory: Path, store: Path) -> None:
    fingerprint_base(directory, cache=DigestCache(store))
    poison(store)
    plain = fingerprint_base(directory)
    assert fingerprint_base(directory, cache=DigestCache(store, verify_always=True)) == plain
    assert fingerprint_base(directory, cache=DigestCache(store)) == plain


def test_a_written_file_is_hashed_again(directory: Path, store: Path) -> None:
    fingerprint_base(directory, cache=DigestCache(store))
    poison(store)
    for path in directory.glob("*.safetensors"):
        path.write_bytes(path.read_bytes())
    assert fingerprint_base(directory, cache=DigestCache(store)) == fingerprint_base(directory)


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, store: Path) -> None:
    fingerprint_base(Base(tokenizer=None, tokenizer_config=None).write(tmp_path / "new"), cache=DigestCache(store))
    assert not store.exists() or list(store.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "tenon.digests/1"}', "[" * 5000])
def test_a_damaged_entry_counts_as_absent(text: str, directory: Path, store: Path) -> None:
    fingerprint_base(directory, cache=DigestCache(store))
    for path in store.iterdir():
        path.write_text(text)
    assert fingerprint_base(directory, cache=DigestCache(store)) == fingerprint_base(directory)


def test_a_cache_that_cannot_be_written_is_no_error(directory: Path, store: Path) -> None:
    store.parent.mkdir()
    store.write_text("a file where the directory should be")
    assert fingerprint_base(directory, cache=DigestCache(store)) == fingerprint_base(directory)


def test_entries_are_the_owners_alone(directory: Path, store: Path) -> None:
    fingerprint_base(directory, cache=DigestCache(store))
    assert store.stat().st_mode & 0o077 == 0
    assert len(list(store.iterdir())) == 3  # two shards and the tokenizer


def test_a_file_changed_while_open_is_noticed(directory: Path) -> None:
    with open_base(directory) as base:
        path = next(directory.glob("*.safetensors"))
        path.write_bytes(path.read_bytes())
        with pytest.raises(DomainError) as caught:
            base.fingerprint()
    assert caught.value.reason is Reason.BASE_FILES_INCONSISTENT


def test_a_file_truncated_while_open_is_noticed(directory: Path) -> None:
    with open_base(directory) as base:
        path = next(directory.glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(DomainError) as caught:
            base.fingerprint()
    assert caught.value.reason in {Reason.SAFETENSORS_INVALID, Reason.BASE_FILES_INCONSISTENT}
