"""What a store says while the disk or the server beneath it is away, and that it needs no restart afterwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from tests.contract.artifacts.backends import Backend

PROJECT = "default"
DATA = b"here before, here after"


def test_every_call_says_unavailable_and_works_again_afterwards(backend: Backend, tmp_path: Path) -> None:
    store = backend.store
    blob = store.put(PROJECT, [DATA], max_bytes=99)
    begun = store.read(PROJECT, blob.digest)
    calls: dict[str, Callable[[], object]] = {
        "check": store.check,
        "stat": lambda: store.stat(PROJECT, blob.digest),
        "read": lambda: store.read(PROJECT, blob.digest),
        "go on reading": lambda: next(begun),
        "verify": lambda: store.verify(PROJECT, blob.digest),
        "fetch": lambda: store.fetch(PROJECT, blob.digest, tmp_path / "fetched"),
        "delete": lambda: store.delete(PROJECT, blob.digest),
        "put": lambda: store.put(PROJECT, [b"lost"], max_bytes=99),
    }
    with backend.outage():
        for name, call in calls.items():
            with pytest.raises(DomainError) as caught:
                call()
            assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE, name
            assert caught.value.retry_after, name
    store.check()
    assert store.verify(PROJECT, blob.digest) == blob
    assert len(backend.held()) == 1
    assert not (tmp_path / "fetched").exists()


def test_an_outage_in_the_middle_of_an_upload_leaves_no_blob(backend: Backend) -> None:
    with ExitStack() as outage:

        def interrupted() -> Iterator[bytes]:
            yield DATA
            outage.enter_context(backend.outage())
            yield DATA

        with pytest.raises(DomainError) as caught:
            backend.store.put(PROJECT, interrupted(), max_bytes=99)
        assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    assert [name for name in backend.held() if name.startswith("projects")] == []
    blob = backend.store.put(PROJECT, [DATA, DATA], max_bytes=99)
    assert backend.store.verify(PROJECT, blob.digest) == blob
