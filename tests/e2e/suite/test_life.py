"""Starting, stopping, dying, and starting again."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.suite import RunningSuite, end, running_suite, start_suite, stop, tenon, wait_for, wait_until_ready
from tests.support.tiny_bases import make_tiny_base

MEGABYTE = 1_000_000


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def test_it_starts_and_stops_cleanly_and_keeps_what_it_has(tmp_path: Path) -> None:
    directory = tmp_path / "data with a space"
    base = make_tiny_base(tmp_path / "base")
    with running_suite(directory) as suite:
        members = family(suite.process.pid)
        assert suite.tenon("base", "add", base, "--name", "kept").returncode == 0
        assert stop(suite.process) == 0
        announced = end(suite.process)
    assert announced.splitlines() == [f"tenon is ready at {suite.endpoints['gateway']} (data in {directory})"]
    assert [member for member in members if member.is_running()] == []
    assert not (directory / "run" / "endpoints.json").exists()
    with running_suite(directory) as again:
        assert "kept" in again.tenon("base", "list").stdout


def test_after_sigkill_nothing_is_left_and_the_next_start_recovers(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    base = make_tiny_base(tmp_path / "base")
    process = start_suite(directory)
    wait_until_ready(directory, process)
    members = family(process.pid)
    assert len(members) >= 7
    assert tenon("base", "add", base, "--name", "kept", data_dir=directory).returncode == 0
    os.kill(process.pid, signal.SIGKILL)
    end(process)
    wait_for(lambda: not [m for m in members if m.is_running() and m.status() != psutil.STATUS_ZOMBIE], "their end")
    with running_suite(directory) as again:
        assert "kept" in again.tenon("base", "list").stdout


@pytest.mark.proof
def test_two_suites_run_side_by_side(tmp_path: Path) -> None:
    with running_suite(tmp_path / "one") as one, running_suite(tmp_path / "two") as two:
        assert set(one.endpoints.values()).isdisjoint(two.endpoints.values())
        for suite in (one, two):
            assert suite.tenon("base", "list").returncode == 0


def test_a_service_that_dies_comes_back_at_its_address(tmp_path: Path) -> None:
    with running_suite(tmp_path / "data") as suite:
        before = suite.processes()
        for name in ("services.registry", "services.inference", "gateway"):
            before[name].kill()
        wait_for(lambda: suite.tenon("base", "list").returncode == 0, "an answer after three deaths")
        assert suite.process.poll() is None


def test_registry_and_gateway_are_light(suite: RunningSuite) -> None:
    for name in ("services.registry", "gateway"):
        process = suite.processes()[name]
        assert process.memory_info().rss < 150 * MEGABYTE, name
        assert not [m.path for m in process.memory_maps() if "libtorch" in m.path], name
