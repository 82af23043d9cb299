"""Starts and stops of the embedded Postgres."""

import json
import re
from pathlib import Path

import psycopg
import pytest

from cli.suite.leftovers import find
from tests.e2e.postgres.conftest import Start
from tests.e2e.postgres.hosting import SERVER_UID


def test_a_first_start_makes_the_database_and_a_second_finds_it(up: Start, tmp_path: Path) -> None:
    data_dir = tmp_path / "new and deep" / "data dir"
    first = up(data_dir).wait_ready()
    first.query("CREATE TABLE t AS SELECT 'ärger 悟空' AS text")
    assert first.query("SHOW server_encoding") == [("UTF8",)]
    first.stop()
    assert not (data_dir / "postgres" / "data" / "postmaster.pid").exists()
    assert find(first.mark, first.uids) == []

    second = up(data_dir).wait_ready()
    assert second.query("SELECT text FROM t") == [("ärger 悟空",)]
    assert second.query("SELECT datname FROM pg_database WHERE datname = 'tenon'") == [("tenon",)]
    second.stop()


def test_endpoints_are_there_while_the_suite_is_ready(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    endpoints = json.loads((data_dir / "run" / "endpoints.json").read_text())
    assert endpoints.keys() == {"gateway", "registry", "trainer", "inference"}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", endpoints["gateway"])
    host.stop()
    assert not (data_dir / "run" / "endpoints.json").exists()


def test_the_password_is_needed_and_nowhere_to_be_seen(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    password = (data_dir / "postgres" / "password").read_text().strip()
    assert password in host.database_url
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host.database_url.replace(password, "guess"))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host.database_url.replace(f":{password}", ""))
    assert (data_dir / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    command_lines = [Path(f"/proc/{left.pid}/cmdline").read_bytes() for left in host.leftovers()]
    assert len(command_lines) > 3
    assert not [line for line in command_lines if password.encode() in line]
    assert password not in (data_dir / "logs" / "postgres.log").read_text()
    host.stop()


def test_it_listens_on_the_loopback_address_alone(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    assert host.query("SHOW listen_addresses") == [("127.0.0.1",)]
    assert host.query("SHOW unix_socket_directories") == [("",)]
    host.stop()


def test_two_suites_run_side_by_side(up: Start, data_dir: Path, initialised: Path) -> None:
    one, other = up(data_dir), up(initialised)
    one.wait_ready()
    other.wait_ready()
    one.query("UPDATE kept SET answer = 1")
    assert other.query("SELECT answer FROM kept") == [(42,)]
    one.stop()
    assert other.query("SELECT answer FROM kept") == [(42,)]
    other.stop()


def test_a_second_suite_on_the_same_directory_is_refused(up: Start, data_dir: Path) -> None:
    first = up(data_dir).wait_ready()
    refusal = up(data_dir).refused()
    assert refusal.startswith("DATA_DIRECTORY_IN_USE: ")
    assert f"process {first.process.pid}" in refusal
    assert first.query("SELECT answer FROM kept") == [(42,)]
    assert (data_dir / "run" / "endpoints.json").exists()
    first.stop()


def test_the_server_runs_as_the_expected_user(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    assert Path(f"/proc/{host.postmaster()}").stat().st_uid == SERVER_UID
    host.stop()
