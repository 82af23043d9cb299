"""What only a directory can suffer: killed writers, full and read-only disks, a mount that went away."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.common.artifacts.connect import connect_store
from services.common.artifacts.filesystem import LAYOUT, MARKER, STALE_SECONDS, FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.settings import ArtifactSettings
from tests.contract.artifacts.backends import FileSystemBackend
from tests.contract.artifacts.child import MIB, PROJECT
from tests.contract.artifacts.children import run_child, start_child

# A disk of 4 MiB in a mount namespace of its own, which ends with its process.
SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=4m tenon "$0" && exec "$@"'


def test_a_writer_killed_half_way_leaves_no_blob_and_its_rest_is_cleared(directory: FileSystemBackend) -> None:
    with start_child("stop_half_way", directory.root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.kill()
    [partial] = directory.held()
    assert partial.startswith("tmp/")
    path = directory.root / partial
    assert path.stat().st_size > 2 * MIB

    FileSystemStore.open(directory.root)
    assert directory.held() == [partial]  # too young: its writer may be alive
    then = time.time() - STALE_SECONDS - 1
    os.utime(path, (then, then))
    FileSystemStore.open(directory.root)
    assert directory.held() == []


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 60), marks=[pytest.mark.proof, pytest.mark.timeout(600)])]
)
def test_killed_at_any_moment_the_store_holds_all_it_acknowledged_and_nothing_half(
    directory: FileSystemBackend, seeds: range
) -> None:
    acknowledged: set[str] = set()
    for seed in seeds:
        with start_child("put_for_ever", directory.root) as child:
            assert child.stdout is not None
            acknowledged.add(child.stdout.readline().strip())
            time.sleep(random.Random(seed).uniform(0, 0.3))  # the moment itself is what is tried
            child.kill()
            lines = child.stdout.read().splitlines(keepends=True)
        acknowledged.update(line.strip() for line in lines if line.endswith("\n"))
    store = FileSystemStore.open(directory.root, stale_after=0)
    held = directory.held()
    assert {name.rpartition("/")[2] for name in held} >= acknowledged
    for name in held:
        store.verify(PROJECT, name.rpartition("/")[2])


def test_a_full_disk_is_said_and_nothing_stays(tmp_path: Path) -> None:
    mounted = subprocess.run([*SMALL_DISK, MOUNT, str(tmp_path), "true"], capture_output=True, check=False)
    if mounted.returncode == 0:
        answer = run_child("fill", str(tmp_path), before=(*SMALL_DISK, MOUNT, str(tmp_path)))
    else:
        answer = run_child("fill_limited", str(tmp_path))
    assert answer == {"reason": Reason.ARTIFACT_STORE_FULL, "left": [str(tmp_path / MARKER)], "after": len("small")}


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path) -> None:
    answer = run_child("fill_limited", str(tmp_path))
    assert answer == {"reason": Reason.ARTIFACT_STORE_FULL, "left": [str(tmp_path / MARKER)], "after": len("small")}


def test_a_read_only_store_says_so_and_still_opens(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    FileSystemStore.open(tmp_path / "store").check()
    for path in (tmp_path / "store", tmp_path / "store" / "tmp"):
        path.chmod(0o555)
    (tmp_path / "store" / MARKER).chmod(0o444)
    try:
        answer = run_child("write_protected", "store", cwd=tmp_path)
    finally:
        for path in (tmp_path / "store", tmp_path / "store" / "tmp"):
            path.chmod(0o755)
    assert answer == {"reasons": [Reason.ARTIFACT_STORE_UNAVAILABLE] * 2}


def test_an_empty_mount_point_is_not_taken_for_an_empty_store(directory: FileSystemBackend) -> None:
    blob = directory.store.put(PROJECT, [b"on the disk"], max_bytes=99)
    with directory.outage():
        directory.root.mkdir()
        calls: list[Callable[[], object]] = [
            lambda: directory.store.stat(PROJECT, blob.digest),
            lambda: directory.store.put(PROJECT, [b"beside the disk"], max_bytes=99),
        ]
        for call in calls:
            with pytest.raises(DomainError) as caught:
                call()
            assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
        assert list(directory.root.iterdir()) == []
        directory.root.rmdir()
    assert directory.store.verify(PROJECT, blob.digest) == blob


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DomainError, match=r"thesis\.tex") as caught:
        FileSystemStore.open(tmp_path)
    assert caught.value.reason is Reason.SETTINGS_INVALID
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_of_a_newer_version_is_refused(directory: FileSystemBackend) -> None:
    (directory.root / MARKER).write_text("2\n")
    with pytest.raises(DomainError, match="2") as caught:
        FileSystemStore.open(directory.root)
    assert caught.value.reason is Reason.DATA_DIRECTORY_INCOMPATIBLE


def test_a_store_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DomainError) as caught:
        FileSystemStore.open(tmp_path / "file" / "store")
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE


def test_many_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    root = tmp_path / "above" / "store"
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(FileSystemStore.open, [root] * 8))
    blob = stores[0].put(PROJECT, [b"shared"], max_bytes=99)
    assert all(store.verify(PROJECT, blob.digest) == blob for store in stores)
    assert (root / MARKER).read_text() == LAYOUT


def test_what_others_may_not_read_they_cannot(directory: FileSystemBackend) -> None:
    directory.store.put(PROJECT, [b"a customer's data"], max_bytes=99)
    [name] = directory.held()
    assert (directory.root / name).stat().st_mode & 0o077 == 0
    assert repr(directory.store) == f"FileSystemStore({str(directory.root)!r})"


def test_a_url_opens_the_directory_it_names(tmp_path: Path) -> None:
    root = tmp_path / "with a space"
    settings = ArtifactSettings(artifacts_url=root.as_uri())
    connect_store(settings).put(PROJECT, [b"there"], max_bytes=99)
    assert (root / MARKER).exists()
