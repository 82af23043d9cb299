"""What the embedded Postgres survives."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psycopg

from cli.suite.leftovers import end_postgres
from tests.e2e.postgres.conftest import Start
from tests.e2e.postgres.hosting import SERVER_UID, Host, eventually


def answers(host: Host) -> bool:
    try:
        return host.query("SELECT answer FROM kept") == [(43,)]
    except psycopg.OperationalError:
        return False


def test_a_killed_server_is_restarted_on_its_port_with_its_data(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    host.query("UPDATE kept SET answer = 43")
    killed = host.postmaster()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: answers(host))
    assert host.postmaster() != killed
    host.process.send_signal(signal.SIGTERM)
    _, errors = host.process.communicate(timeout=30)
    assert host.process.returncode == 0
    assert "postgres was ended by SIGKILL; starting it again in 0.5 s." in errors


def test_after_a_killed_supervisor_the_next_start_finds_everything(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    host.query("UPDATE kept SET answer = 43")
    host.kill()
    again = up(data_dir).wait_ready()  # the old server may still be shutting down
    assert answers(again)
    again.stop()


def test_nothing_outlives_a_killed_supervisor(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    host.kill()
    eventually(lambda: host.leftovers() == [])
    eventually(lambda: not (data_dir / "run" / "endpoints.json").exists())


def test_after_everything_was_killed_at_once_the_next_start_recovers(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    host.query("UPDATE kept SET answer = 43")
    everything = [host.process.pid, *(left.pid for left in host.leftovers())]
    for pid in everything:
        # One may have ended with another.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    again = up(data_dir).wait_ready()
    assert answers(again)
    again.stop()


async def test_a_server_that_does_not_react_is_ended_by_force(up: Start, data_dir: Path) -> None:
    host = up(data_dir).wait_ready()
    for left in host.leftovers():
        os.kill(left.pid, signal.SIGSTOP)
    host.kill()
    await end_postgres(host.mark, SERVER_UID, polite_seconds=0.2)
    assert host.leftovers() == []


def test_a_start_killed_while_it_makes_the_database_leaves_nothing_behind(up: Start, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    host = up(data_dir)
    eventually(lambda: any(data_dir.glob("postgres/.data-*/base/1/*")))
    host.kill()
    assert not (data_dir / "postgres" / "data").exists()
    again = up(data_dir).wait_ready()
    assert [path.name for path in (data_dir / "postgres").iterdir() if path.name.startswith(".")] == []
    again.stop()


def test_a_number_that_another_program_has_now_is_no_obstacle(up: Start, data_dir: Path) -> None:
    # What a crash leaves behind, with a number that has become another program's: this one's.
    file = data_dir / "postgres" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{data_dir}\n1700000000\n5432\n\n127.0.0.1\n       1         1\nready   \n")
    host = up(data_dir).wait_ready()
    assert host.query("SELECT answer FROM kept") == [(42,)]
    host.stop()
