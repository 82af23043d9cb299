"""A suite that does not run; what is damaged, in the way, or cut off; disks that are full."""

import json
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.command_line import tenon as command
from cli.output import exit_code
from cli.suite.backup.server import server_alone
from cli.suite.data_directory import open_data_directory
from cli.suite.postgres.account import DEFAULT_UID
from services.common.errors import DomainError
from tests.e2e.suite.backup.taken import Taken
from tests.support.suite import environment, tenon, wait_for

pytestmark = pytest.mark.proof

LIMIT = 64 * 1024
"""A limit on the size of files stops writing as a full disk does."""


def inside(*arguments: str | Path) -> tuple[int, Any]:
    """Run a command in this process, which is faster; answers its exit status and what `--json` printed."""
    ran = CliRunner().invoke(command, [*map(str, arguments), "--json"])
    status = exit_code(ran.exception) if isinstance(ran.exception, DomainError) else ran.exit_code
    return status, json.loads(ran.stdout or ran.stderr.splitlines()[-1])


def left(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def test_a_suite_that_does_not_run_is_backed_up_too(taken: Taken, stopped: Path, tmp_path: Path) -> None:
    ran = tenon("backup", tmp_path / "again.tar", "--json", data_dir=stopped)
    assert ran.returncode == 0, ran.stderr
    again = json.loads(ran.stdout)
    checked = tenon("backup", "--verify", taken.archive, "--json")
    first = json.loads(checked.stdout)
    for name in ("keys", "migrations", "left_out", "tenon"):
        assert again[name] == first[name], name
    # What was deleted while the first was written did not come back.
    assert again["blobs"] == len(list((stopped / "artifacts" / "projects").rglob("blobs/sha256/*/*")))
    assert 3 < again["blobs"] <= first["blobs"]
    assert first["keys"] == ["keys/signing.pem", "keys/trusted/suite.pem", "run/admin.key"]
    # Nothing runs there any more: a suite can have the directory.
    assert not (stopped / "postgres" / "data" / "postmaster.pid").exists()
    assert left(tmp_path) == ["again.tar", "stopped"]


def test_through_a_pipe_it_is_the_same(taken: Taken, stopped: Path, tmp_path: Path) -> None:
    backup = [sys.executable, "-m", "cli", "--data-dir", str(stopped), "backup", "-"]
    restore = [sys.executable, "-m", "cli", "restore", "-", "--json", "--data-dir", str(tmp_path / "two")]
    with (
        subprocess.Popen(backup, stdout=subprocess.PIPE, env=environment()) as writing,
        subprocess.Popen(
            restore, stdin=writing.stdout, stdout=subprocess.PIPE, env=environment(), text=True
        ) as reading,
    ):
        assert writing.stdout is not None
        writing.stdout.close()
        done = json.loads(reading.communicate(timeout=60)[0])
    assert (writing.returncode, reading.returncode) == (0, 0)
    assert done["data_directory"] == str(tmp_path / "two")
    for name in ("keys/signing.pem", "run/admin.key"):
        assert (tmp_path / "two" / name).read_bytes() == (stopped / name).read_bytes()


def test_a_reader_that_leaves_is_told_of(stopped: Path) -> None:
    backup = [sys.executable, "-m", "cli", "--data-dir", str(stopped), "backup", "-"]
    with subprocess.Popen(
        backup, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (1, "Error: Whoever reads the backup stopped before its end.\n")


def test_what_is_damaged_or_lost_is_named_and_left_out_only_on_request(stopped: Path, tmp_path: Path) -> None:
    damaged, lost, *_ = sorted((stopped / "artifacts" / "projects").rglob("blobs/sha256/*/*"))
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    target = tmp_path / "backup.tar"
    ran = tenon("backup", target, "--json", data_dir=stopped)
    error = json.loads(ran.stderr.splitlines()[-1])["error"]
    assert (ran.returncode, error["reason"], error["metadata"]["digest"]) == (1, "ARTIFACT_CORRUPT", damaged.name)
    assert error["metadata"]["resource"].startswith("projects/default/")
    lost.unlink()
    both = {damaged.name: "ARTIFACT_CORRUPT", lost.name: "ARTIFACT_NOT_FOUND"}
    assert left(tmp_path) == ["stopped"]
    ran = tenon("backup", target, "--skip-damaged", "--json", data_dir=stopped)
    assert ran.returncode == 0, ran.stderr
    assert {blob["digest"]: blob["reason"] for blob in json.loads(ran.stdout)["left_out"]} == both
    assert damaged.name in ran.stderr
    restored = tenon("restore", target, "--json", "--data-dir", tmp_path / "two")
    assert restored.returncode == 0, restored.stderr
    assert {blob["digest"]: blob["reason"] for blob in json.loads(restored.stdout)["left_out"]} == both
    found = {file.name for file in (tmp_path / "two" / "artifacts" / "projects").rglob("blobs/sha256/*/*")}
    expected = {file.name for file in (stopped / "artifacts" / "projects").rglob("blobs/sha256/*/*")}
    assert found == expected - {damaged.name}


def test_a_lost_blob_is_no_silent_gap(stopped: Path, tmp_path: Path) -> None:
    lost = min((stopped / "artifacts" / "projects").rglob("blobs/sha256/*/*"))
    lost.unlink()
    ran = tenon("backup", tmp_path / "backup.tar", data_dir=stopped)
    assert (ran.returncode, lost.name in ran.stderr) == (4, True)
    assert left(tmp_path) == ["stopped"]


def test_nothing_is_replaced_without_being_asked(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    target.write_text("precious")
    ran = taken.suite.tenon("backup", target)
    assert (ran.returncode, "--force" in ran.stderr, target.read_text()) == (2, True, "precious")
    assert taken.suite.tenon("backup", target, "--force").returncode == 0
    assert tenon("backup", "--verify", target).returncode == 0
    for wrong in (tmp_path, tmp_path / "nowhere" / "backup.tar"):
        assert taken.suite.tenon("backup", wrong).returncode == 2
    assert left(tmp_path) == ["backup.tar"]


def test_without_a_suite_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    ran = tenon("backup", tmp_path / "backup.tar", data_dir=tmp_path / "none")
    assert (ran.returncode, "There is no suite in" in ran.stderr, left(tmp_path)) == (3, True, [])


def test_it_is_restored_into_an_empty_place_alone(taken: Taken, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for place in (full, full / "file", tmp_path / "link", taken.suite.data_dir):
        status, _ = inside("restore", taken.archive, "--data-dir", place)
        assert status in {2, 3}, place
    assert left(full) == ["file"]
    (tmp_path / "empty").mkdir()
    status, done = inside("restore", taken.archive, "--data-dir", tmp_path / "empty")
    assert (status, done["data_directory"]) == (0, str(tmp_path / "empty"))
    assert left(tmp_path) == ["empty", "full", "link"]


def test_a_wrong_archive_leaves_nothing(taken: Taken, tmp_path: Path) -> None:
    whole = taken.archive.read_bytes()
    names = whole.replace(b"run/admin.key", b"../admin.keyy")
    for number, content in enumerate((whole[: len(whole) // 2], names, b"", whole[whole.index(b"run/admin.key") :])):
        file = tmp_path / f"{number}.tar"
        file.write_bytes(content)
        status, said = inside("restore", file, "--data-dir", tmp_path / "place" / "data")
        assert (status, said["error"]["reason"]) == (2, "INVALID_ARGUMENT")
        assert left(tmp_path / "place") == []
        assert inside("backup", "--verify", file)[0] == 2
    assert inside("restore", tmp_path / "none.tar", "--data-dir", tmp_path / "data")[0] == 2


def test_a_dump_is_read_with_no_more_rights_than_it_takes(stopped: Path, tmp_path: Path) -> None:
    """A function in the server's own code is for a superuser alone; the backup is as its manifest says."""
    directory = open_data_directory(stopped)
    with directory.locked(), server_alone(directory, DEFAULT_UID) as server, server.connected() as connection:
        connection.execute("CREATE FUNCTION iam.reload() RETURNS bool LANGUAGE internal AS 'pg_reload_conf'")
    assert tenon("backup", tmp_path / "backup.tar", data_dir=stopped).returncode == 0
    ran = tenon("restore", tmp_path / "backup.tar", "--json", "--data-dir", tmp_path / "two")
    error = json.loads(ran.stderr.splitlines()[-1])["error"]
    assert (ran.returncode, error["reason"]) == (3, "PROCESS_FAILED")
    assert "permission denied for language internal" in error["message"]
    assert left(tmp_path) == ["backup.tar", "stopped"]


def test_a_full_disk_leaves_nothing(taken: Taken, tmp_path: Path) -> None:
    assert taken.archive.stat().st_size > 2 * LIMIT
    filled = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    ran = taken.suite.tenon("backup", tmp_path / "backup.tar", "--json", preexec_fn=filled)
    assert (ran.returncode, json.loads(ran.stderr.splitlines()[-1])["error"]["reason"]) == (1, "ARTIFACT_STORE_FULL")
    ran = tenon("restore", taken.archive, "--json", "--data-dir", tmp_path / "data", preexec_fn=filled)
    assert (ran.returncode, json.loads(ran.stderr.splitlines()[-1])["error"]["reason"]) == (1, "ARTIFACT_STORE_FULL")
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)])
def test_who_interrupts_it_finds_nothing(taken: Taken, tmp_path: Path, number: signal.Signals) -> None:
    restore = [sys.executable, "-m", "cli", "restore", str(taken.archive), "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(restore, stderr=subprocess.PIPE, env=environment(), text=True) as process:
        wait_for(lambda: list(tmp_path.glob(".data.restore-*/postgres/data/postmaster.pid")), "Postgres's start")
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.strip()) == (130, "Interrupted.")
    assert left(tmp_path) == []
