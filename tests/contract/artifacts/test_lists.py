"""What lies in a store, over every store."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from services.common.artifacts.names import blob_key, digest_of_key, project_of_key
from services.common.errors import DomainError, Reason
from tests.contract.artifacts.backends import Backend

DATA = [b"one", b"the other", b""]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_blob_of_a_project_is_listed_with_size_and_time(backend: Backend) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    for data in DATA:
        backend.store.put("default", [data], max_bytes=99)
    backend.store.put("other", [b"theirs"], max_bytes=99)
    listed = {blob.digest: blob for blob in backend.store.blobs("default")}
    assert {key: blob.size for key, blob in listed.items()} == {digest(data): len(data) for data in DATA}
    assert all(before <= blob.put_time <= datetime.now(UTC) + timedelta(seconds=2) for blob in listed.values())
    assert list(backend.store.projects()) == ["default", "other"]
    backend.store.delete("other", digest(b"theirs"))
    assert list(backend.store.blobs("other")) == []


def test_a_store_is_the_first_suite_s_that_claims_it(backend: Backend) -> None:
    assert backend.store.claim("ours") == "ours"
    assert backend.store.claim("theirs") == "ours"
    assert list(backend.store.projects()) == []
    with backend.outage(), pytest.raises(DomainError) as caught:
        backend.store.claim("ours")
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE


def test_an_empty_store_lists_nothing(backend: Backend) -> None:
    backend.store.check()
    assert list(backend.store.projects()) == []
    assert list(backend.store.blobs("default")) == []


def test_what_is_no_blob_is_not_listed(backend: Backend) -> None:
    backend.store.put("default", [b"one"], max_bytes=9)
    if hasattr(backend, "root"):
        place = backend.root / blob_key("default", digest(b"one"))
        (place.parent / "notes.txt").write_text("x")
        (place.parent.parent / "stray").write_text("x")
        (backend.root / "projects" / "Not A Slug").mkdir()
        (place.parent / ("0" * 64)).write_bytes(b"in the wrong directory")
    assert [blob.digest for blob in backend.store.blobs("default")] == [digest(b"one")]
    assert list(backend.store.projects()) == ["default"]


def test_a_name_that_leads_elsewhere_is_refused(backend: Backend) -> None:
    with pytest.raises(DomainError) as caught:
        list(backend.store.blobs("../default"))
    assert caught.value.reason is Reason.INVALID_ARGUMENT


def test_a_store_that_is_away_is_not_an_empty_one(backend: Backend) -> None:
    backend.store.put("default", [b"one"], max_bytes=9)
    with backend.outage():
        for listing in (backend.store.projects, lambda: backend.store.blobs("default")):
            with pytest.raises(DomainError) as caught:
                list(listing())
            assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE


@pytest.mark.parametrize(
    ("key", "project", "found"),
    [
        (blob_key("apes", "ab" * 32), "apes", "ab" * 32),
        (f"projects/apes/blobs/sha256/cd/{'ab' * 32}", "apes", None),
        ("projects/apes", "apes", None),
        ("projects/-/blobs", None, None),
        ("projects", None, None),
        ("tmp/x", None, None),
        ("", None, None),
    ],
)
def test_keys_are_read_back(key: str, project: str | None, found: str | None) -> None:
    assert project_of_key(key) == project
    assert digest_of_key(key) == found
