"""Starts and stops of the embedded Postgres."""

import json
import re
from pathlib import Path

import psycopg
import pytest

from cli.suite.leftovers import find
from tests.e2e.postgres.conftest import Start
from tests.e2e.postgres.hosting import SERVER_UID, Host


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
    assert not (data_dir / "run" / "endpoints.json").exists()


def test_endpoints_are_there_while_the_suite_is_ready(one: Host) -> None:
    endpoints = json.loads((one.data_dir / "run" / "endpoints.json").read_text())
    assert endpoints.keys() == {"gateway", "registry", "trainer", "inference"}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", endpoints["gateway"])


def test_the_password_is_needed_and_nowhere_to_be_seen(one: Host) -> None:
    file = one.data_dir / "postgres" / "password"
    password = file.read_text().strip()
    assert password in one.database_url
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(one.database_url.replace(password, "guess"))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(one.database_url.replace(f":{password}", ""))
    assert file.stat().st_mode & 0o777 == 0o600
    command_lines = [Path(f"/proc/{left.pid}/cmdline").read_bytes() for left in one.leftovers()]
    assert len(command_lines) > 3
    assert not [line for line in command_lines if password.encode() in line]
    assert password not in (one.data_dir / "logs" / "postgres.log").read_text()


def test_it_listens_on_the_loopback_address_alone(one: Host) -> None:
    assert one.query("SHOW listen_addresses") == [("127.0.0.1",)]
    assert one.query("SHOW unix_socket_directories") == [("",)]


def test_the_server_runs_as_the_expected_user(one: Host) -> None:
    assert Path(f"/proc/{one.postmaster()}").stat().st_uid == SERVER_UID


def test_a_second_suite_on_the_same_directory_is_refused(one: Host, up: Start) -> None:
    refusal = up(one.data_dir).refused()
    assert refusal.startswith("DATA_DIRECTORY_IN_USE: ")
    assert f"process {one.process.pid}" in refusal
    assert one.query("SELECT answer FROM kept") == [(42,)]
    assert (one.data_dir / "run" / "endpoints.json").exists()


def test_two_suites_run_side_by_side(one: Host, up: Start, data_dir: Path) -> None:
    other = up(data_dir).wait_ready()
    other.query("UPDATE kept SET answer = 1")
    assert one.query("SELECT answer FROM kept") == [(42,)]
    other.stop()
    assert one.query("SELECT answer FROM kept") == [(42,)]
