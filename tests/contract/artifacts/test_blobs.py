"""Storing, reading, verifying and deleting, over every store."""

import gc
import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from services.common.artifacts.store import CHUNK_BYTES, ArtifactStore, Blob
from services.common.errors import DomainError, Reason
from tests.contract.artifacts.backends import Backend

MIB = 1 << 20
PROJECT = "default"
CONTENT = hashlib.shake_256(b"tenon").digest(3 * MIB + 17)
SHORT = b"eight pounds of iron, wishing to be gold"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(backend: Backend, data: bytes, project: str = PROJECT) -> Blob:
    return backend.store.put(project, [data], max_bytes=len(data))


def read(backend: Backend, digest: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join(backend.store.read(PROJECT, digest, offset=offset, length=length))


def refusal(call: Callable[[], object]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 8 * MIB, 20 * MIB + 1])
def test_what_is_put_can_be_read(backend: Backend, size: int) -> None:
    data = hashlib.shake_256(size.to_bytes(8)).digest(size)
    chunks = (data[start : start + 700_001] for start in range(0, size, 700_001))
    blob = backend.store.put(PROJECT, chunks, max_bytes=size, expected_digest=sha256(data))
    assert blob == Blob(sha256(data), size) == backend.store.stat(PROJECT, blob.digest)
    assert read(backend, blob.digest) == data
    assert backend.store.verify(PROJECT, blob.digest) == blob


def test_a_file_is_put(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "adapter model.safetensors"
    path.write_bytes(CONTENT)
    assert backend.store.put_file(PROJECT, path) == Blob(sha256(CONTENT), len(CONTENT))
    assert read(backend, sha256(CONTENT)) == CONTENT


def test_what_is_no_file_is_not_put(backend: Backend, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert refusal(partial(backend.store.put_file, PROJECT, path)).reason is Reason.INVALID_ARGUMENT


def test_the_same_blob_is_kept_once(backend: Backend) -> None:
    assert put(backend, SHORT) == put(backend, SHORT)
    assert len(backend.held()) == 1


def test_other_bytes_than_expected_are_not_kept(backend: Backend) -> None:
    error = refusal(lambda: backend.store.put(PROJECT, [SHORT], max_bytes=99, expected_digest=sha256(CONTENT)))
    assert error.reason is Reason.ARTIFACT_CORRUPT
    assert error.metadata == {"expected": sha256(CONTENT), "actual": sha256(SHORT)}
    assert backend.held() == []


def test_the_limit_is_inclusive_and_ends_the_upload(backend: Backend) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield SHORT

    error = refusal(lambda: backend.store.put(PROJECT, endless(), max_bytes=3 * len(SHORT)))
    assert error.reason is Reason.LIMIT_EXCEEDED
    assert len(taken) == 4
    assert backend.held() == []
    assert backend.store.put(PROJECT, [SHORT] * 3, max_bytes=3 * len(SHORT)).size == 3 * len(SHORT)


def test_an_upload_that_breaks_off_leaves_nothing(backend: Backend) -> None:
    broken = ConnectionResetError(104, "the uploader went away")

    def breaking() -> Iterator[bytes]:
        yield CONTENT
        raise broken

    with pytest.raises(ConnectionResetError) as caught:
        backend.store.put(PROJECT, breaking(), max_bytes=99 * MIB)
    assert caught.value is broken  # the caller's own failure is not the store's
    assert backend.held() == []


def test_a_digest_opens_nothing_in_another_project(backend: Backend, tmp_path: Path) -> None:
    blob = put(backend, SHORT)
    store, other = backend.store, "other"
    calls: list[Callable[[], object]] = [
        lambda: store.stat(other, blob.digest),
        lambda: store.read(other, blob.digest),
        lambda: store.verify(other, blob.digest),
        lambda: store.fetch(other, blob.digest, tmp_path / "stolen"),
    ]
    for call in calls:
        error = refusal(call)
        assert error.reason is Reason.ARTIFACT_NOT_FOUND
        assert error.metadata == {"project": other, "digest": blob.digest}
    store.delete(other, blob.digest)
    assert read(backend, blob.digest) == SHORT
    assert list(tmp_path.glob("stolen*")) == []


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0), (0, 8), (1, MIB), (MIB - 1, 2), (MIB, 2 * MIB), (5, None), (len(CONTENT) - 1, 1),
        (len(CONTENT) - 1, 99), (len(CONTENT), None), (len(CONTENT), 1), (0, len(CONTENT)),
    ],
)  # fmt: skip
def test_ranges_are_cut_at_the_end(backend: Backend, offset: int, length: int | None) -> None:
    blob = put(backend, CONTENT)
    chunks = list(backend.store.read(PROJECT, blob.digest, offset=offset, length=length))
    assert b"".join(chunks) == CONTENT[offset : None if length is None else offset + length]
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (len(SHORT) + 1, None), (0, -1)])
def test_ranges_outside_the_blob_are_refused_before_reading(backend: Backend, offset: int, length: int | None) -> None:
    blob = put(backend, SHORT)
    error = refusal(lambda: backend.store.read(PROJECT, blob.digest, offset=offset, length=length))
    assert error.reason is Reason.INVALID_ARGUMENT


def test_a_read_may_be_left_half_way(backend: Backend) -> None:
    blob = put(backend, CONTENT)
    assert next(backend.store.read(PROJECT, blob.digest)) == CONTENT[:CHUNK_BYTES]
    backend.store.read(PROJECT, blob.digest)  # never begun
    gc.collect()  # an open file or connection would be a ResourceWarning, which is an error here


def test_a_fetched_file_is_whole_and_replaces_what_was_there(backend: Backend, tmp_path: Path) -> None:
    blob = put(backend, CONTENT)
    destination = tmp_path / "cache" / "blobs" / "weights"
    backend.store.fetch(PROJECT, blob.digest, destination)
    destination.write_bytes(b"changed by its owner")
    backend.store.fetch(PROJECT, blob.digest, destination)
    assert destination.read_bytes() == CONTENT
    assert [path.name for path in destination.parent.iterdir()] == ["weights"]
    assert backend.store.verify(PROJECT, blob.digest) == blob


def test_a_destination_that_cannot_be_written_is_named(backend: Backend, tmp_path: Path) -> None:
    blob = put(backend, SHORT)
    (tmp_path / "directory" / "in the way").mkdir(parents=True)
    (tmp_path / "file").touch()
    for path in (tmp_path / "directory", tmp_path / "file" / "weights"):
        error = refusal(partial(backend.store.fetch, PROJECT, blob.digest, path))
        assert error.reason is Reason.DATA_DIRECTORY_UNUSABLE
        assert str(path) in error.message
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    "damaged",
    [SHORT[:-1] + b"D", SHORT[:-1], SHORT + b"!", b""],
    ids=["one bit", "cut", "longer", "empty"],
)
def test_damage_is_noticed_and_mended(backend: Backend, tmp_path: Path, damaged: bytes) -> None:
    blob = put(backend, SHORT)
    backend.overwrite(PROJECT, blob.digest, damaged)
    destination = tmp_path / "fetched"
    destination.write_bytes(b"the last good one")
    for call in (
        lambda: backend.store.verify(PROJECT, blob.digest),
        lambda: backend.store.fetch(PROJECT, blob.digest, destination),
    ):
        error = refusal(call)
        assert error.reason is Reason.ARTIFACT_CORRUPT
        assert error.metadata == {"expected": blob.digest, "actual": sha256(damaged)}
    assert destination.read_bytes() == b"the last good one"
    assert list(tmp_path.glob(".*")) == []
    assert put(backend, SHORT) == blob
    assert backend.store.verify(PROJECT, blob.digest) == blob


def test_a_deleted_blob_is_gone_and_may_be_deleted_again(backend: Backend) -> None:
    blob, kept = put(backend, SHORT), put(backend, CONTENT)
    for _ in range(2):
        backend.store.delete(PROJECT, blob.digest)
        assert refusal(lambda: backend.store.stat(PROJECT, blob.digest)).reason is Reason.ARTIFACT_NOT_FOUND
    backend.store.delete("never-seen", blob.digest)
    assert backend.store.verify(PROJECT, kept.digest) == kept


def test_eight_threads_put_the_same_blob(backend: Backend) -> None:
    def put_in_pieces(seed: int) -> Blob:
        step = 100_003 + seed
        pieces = (CONTENT[start : start + step] for start in range(0, len(CONTENT), step))
        return backend.store.put(PROJECT, pieces, max_bytes=len(CONTENT))

    with ThreadPoolExecutor(8) as pool:
        blobs = set(pool.map(put_in_pieces, range(8)))
    assert blobs == {Blob(sha256(CONTENT), len(CONTENT))}
    assert len(backend.held()) == 1
    assert read(backend, sha256(CONTENT)) == CONTENT


def test_eight_threads_put_and_read_their_own(backend: Backend) -> None:
    def there_and_back(seed: int) -> bool:
        data = hashlib.shake_256(bytes([seed])).digest(300_000)
        return all(read(backend, put(backend, data).digest) == data for _ in range(3))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(8)))
    assert len(backend.held()) == 8


@pytest.mark.parametrize(
    "project",
    [
        "",
        ".",
        "..",
        "../other",
        "a/b",
        "a\\b",
        "/etc",
        "A",
        "a_b",
        "-a",
        "a-",
        "a" * 64,
        "a\n",
        "a\0",
        "ä",
        "孙悟空",
        "%2e",
    ],
)
def test_a_project_is_a_slug(backend: Backend, tmp_path: Path, project: str) -> None:
    _refused_everywhere(backend.store, project, sha256(SHORT), tmp_path)
    assert refusal(lambda: put(backend, SHORT, project)).violations[0].field == "project"
    assert backend.held() == []


@pytest.mark.parametrize(
    "digest",
    ["", "..", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "/" + "a" * 63, "../" + "a" * 61, "a" * 63 + "\n", "٣" * 64],
)
def test_a_digest_is_64_lower_case_hex_digits(backend: Backend, tmp_path: Path, digest: str) -> None:
    _refused_everywhere(backend.store, PROJECT, digest, tmp_path)
    error = refusal(lambda: backend.store.put(PROJECT, [SHORT], max_bytes=99, expected_digest=digest))
    assert error.violations[0].field == "digest"
    assert backend.held() == []


def _refused_everywhere(store: ArtifactStore, project: str, digest: str, directory: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.stat(project, digest),
        lambda: store.read(project, digest),
        lambda: store.verify(project, digest),
        lambda: store.fetch(project, digest, directory / "fetched"),
        lambda: store.delete(project, digest),
        lambda: store.presign_get(project, digest, timedelta(minutes=1)),
    ]
    assert [refusal(call).reason for call in calls] == [Reason.INVALID_ARGUMENT] * len(calls)


def test_a_store_is_ready_and_stays_as_it_is(backend: Backend) -> None:
    backend.store.check()
    backend.store.check()
    assert backend.held() == []


def test_memory_does_not_grow_with_the_blob(backend: Backend, tmp_path: Path) -> None:
    size = 96 * MIB
    tracemalloc.start()
    try:
        blob = backend.store.put(PROJECT, (CONTENT[:MIB] for _ in range(96)), max_bytes=size)
        backend.store.fetch(PROJECT, blob.digest, tmp_path / "fetched")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blob.size == size
    assert peak < 64 * MIB
