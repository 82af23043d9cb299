"""Two gigabytes within bounded memory, and kills at any moment of writing and restoring them."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.suite.backup.server import server_alone
from cli.suite.data_directory import DataDirectory, open_data_directory
from cli.suite.leftovers import find
from cli.suite.postgres.account import DEFAULT_UID
from services.common.artifacts.filesystem import FileSystemStore
from tests.e2e.suite.backup.test_refused import left
from tests.support.suite import environment, tenon, wait_for

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

MIB = 1 << 20
MOST_MEMORY = 200 * MIB
KILLS = 20


def fill(data_dir: Path, sizes: list[int]) -> None:
    """Add data sets of these sizes in MiB to a suite that does not run."""
    directory = open_data_directory(data_dir)
    store = FileSystemStore.open(directory.artifacts)
    with directory.locked(), server_alone(directory, DEFAULT_UID) as server, server.connected() as connection:
        for number, size in enumerate(sizes):
            blob = store.put("default", noise(number, size), max_bytes=size * MIB)
            connection.execute(
                "INSERT INTO trainer.datasets (project, dataset, display_name, format, size, sha256, statistics) "
                "VALUES ('default', %s, '', 'alpaca', %s, %s, '{}')",
                [f"large-{number}", blob.size, blob.digest],
            )


def noise(seed: int, size: int) -> Iterator[bytes]:
    for number in range(size):
        yield hashlib.shake_128(f"{seed}/{number}".encode()).digest(MIB)


def measured(*arguments: str | Path) -> tuple[int, float]:
    """Run a command; answers the most memory it had, in bytes, and how long it took."""
    begin, most = time.monotonic(), 0
    # Not wait4's ru_maxrss: that counts what this process was before it became another.
    with psutil.Popen([sys.executable, "-m", "cli", *map(str, arguments)], env=environment()) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
            most = max([most, *peak])
            time.sleep(0.02)
    assert process.returncode == 0
    return most * 1024, time.monotonic() - begin


def test_two_gigabytes_take_little_memory(stopped: Path, tmp_path: Path) -> None:
    fill(stopped, [1000, 600, 400, *[1] * 48])
    archive, again = tmp_path / "backup.tar", tmp_path / "again"
    for arguments in (
        ("--data-dir", stopped, "backup", archive),
        ("backup", "--verify", archive),
        ("restore", archive, "--data-dir", again),
    ):
        memory, seconds = measured(*arguments)
        print(f"{arguments[0]} {arguments[2]}: {memory / MIB:.0f} MiB at most, {seconds:.1f} s")
        assert memory < MOST_MEMORY
    assert archive.stat().st_size > 2000 * MIB
    assert blobs(again) == blobs(stopped)


def test_killed_at_any_moment_a_backup_is_whole_or_not_there(stopped: Path, tmp_path: Path) -> None:
    fill(stopped, [200])
    archive = tmp_path / "backups" / "backup.tar"
    archive.parent.mkdir()
    directory = open_data_directory(stopped)
    whole = 0
    for seed in range(KILLS):
        killed(seed, 2.0, "--data-dir", stopped, "backup", archive)
        wait_for(lambda: alone(directory), "the end of its Postgres")
        if archive.exists():
            whole += 1
            assert tenon("backup", "--verify", archive).returncode == 0
            archive.unlink()
    assert whole < KILLS, "no kill came in time"
    unfinished = [name for name in left(archive.parent) if name.startswith(".backup.tar.partial-")]
    assert unfinished, "no kill came while the archive was written"
    then = time.time() - 4000
    for name in unfinished:
        os.utime(archive.parent / name, (then, then))
    ran = tenon("backup", archive, "--json", data_dir=stopped)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["blob_bytes"] > 200 * MIB
    assert left(archive.parent) == ["backup.tar"]


def test_killed_at_any_moment_a_restore_is_whole_or_not_there(stopped: Path, tmp_path: Path) -> None:
    fill(stopped, [200])
    archive, target = tmp_path / "backup.tar", tmp_path / "place" / "data"
    assert tenon("backup", archive, data_dir=stopped).returncode == 0
    whole = unfinished = 0
    for seed in range(KILLS):
        killed(seed, 4.0, "restore", archive, "--data-dir", target)
        if not target.exists():
            unfinished += any(target.parent.glob(".data.restore-*"))
            continue
        whole += 1
        assert blobs(target) == blobs(stopped)
        assert (target / "run" / "admin.key").read_bytes() == (stopped / "run" / "admin.key").read_bytes()
        target.rename(tmp_path / f"whole-{seed}")
    assert unfinished, "no kill came while the directory was made"
    ran = tenon("restore", archive, "--data-dir", target)
    assert ran.returncode == 0, ran.stderr
    assert left(target.parent) == ["data"]
    assert blobs(target) == blobs(stopped)
    assert tenon("backup", tmp_path / "again.tar", data_dir=target).returncode == 0


def killed(seed: int, within: float, *arguments: str | Path) -> None:
    """Start a command, and kill it at a moment that the seed picks."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, arguments)], env=environment(), stdout=subprocess.DEVNULL
    )
    time.sleep(random.Random(seed).uniform(0.3, within))
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def alone(directory: DataDirectory) -> bool:
    """Whether no process of a suite is left."""
    return not find(directory.mark, [os.geteuid(), DEFAULT_UID])


def blobs(data_dir: Path) -> dict[str, int]:
    """Every blob and its size."""
    return {file.name: file.stat().st_size for file in (data_dir / "artifacts" / "projects").rglob("blobs/sha256/*/*")}
