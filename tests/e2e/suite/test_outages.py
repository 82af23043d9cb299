"""Postgres or the artifact store gone in the middle: UNAVAILABLE, and recovery without a restart."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from tests.support.suite import RunningSuite, environment, running_suite, wait_for
from tests.support.tiny_bases import make_tiny_base


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of this module's own."""
    root = tmp_path_factory.mktemp("outages")
    with running_suite(root / "data") as suite:
        base = make_tiny_base(root / "base")
        assert suite.tenon("base", "add", base, "--name", "tiny").returncode == 0
        yield suite


def works(suite: RunningSuite) -> bool:
    return suite.tenon("base", "list").returncode == 0 and suite.tenon("job", "list").returncode == 0


def test_postgres_that_hangs_is_unavailable_until_it_answers(harmed: RunningSuite) -> None:
    postgres = harmed.processes()["postgres"]
    members = [postgres, *postgres.children(recursive=True)]
    for member in members:
        member.send_signal(signal.SIGSTOP)
    try:
        with harmed.client() as client, pytest.raises(DomainError) as caught:
            client.get("/v1/base_models")
    finally:
        for member in members:
            member.send_signal(signal.SIGCONT)
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    wait_for(lambda: works(harmed), "recovery")


def test_postgres_that_is_killed_comes_back(harmed: RunningSuite) -> None:
    postgres = harmed.processes()["postgres"]
    others = {name: process.pid for name, process in harmed.processes().items() if name != "postgres"}
    postgres.kill()
    wait_for(lambda: works(harmed), "recovery")
    assert {name: p.pid for name, p in harmed.processes().items() if name != "postgres"} == others
    assert "tiny" in harmed.tenon("base", "list").stdout


@pytest.mark.proof
def test_a_watch_goes_on_after_the_trainer_was_killed(harmed: RunningSuite, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n}?", "completion": "{n}."}}\n' for n in range(10)))
    command: list[str | Path] = ["train", "--base", "tiny", "--data", rows, "--name", "watched", "--epochs", "900"]
    job = harmed.tenon(*command, "--detach").stdout.strip()
    arguments = [sys.executable, "-m", "cli", "--data-dir", str(harmed.data_dir), "job", "watch", job, "--json"]
    watch = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment())
    assert watch.stdout is not None
    lines = [watch.stdout.readline()]
    while '"metrics"' not in lines[-1]:
        lines.append(watch.stdout.readline())
    harmed.processes()["services.trainer"].kill()
    wait_for(lambda: works(harmed), "recovery")
    assert harmed.tenon("job", "cancel", job).returncode == 0
    updates = [json.loads(line) for line in (*lines, *watch.stdout)]
    numbers = [update["event"]["sequence"] for update in updates if "event" in update]
    assert numbers == list(range(1, len(numbers) + 1))
    assert updates[-1]["event"]["data"]["state"] == "cancelled"
    assert watch.wait(timeout=60) == 1
    watch.stdout.close()


def test_a_store_that_vanishes_is_unavailable_until_it_returns(harmed: RunningSuite, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 10)
    store, aside = harmed.data_dir / "artifacts", harmed.data_dir / "aside"
    store.rename(aside)
    try:
        with harmed.client() as client, pytest.raises(DomainError) as caught:
            client.upload("/v1/files", rows, {"purpose": "fine-tune"})
    finally:
        aside.rename(store)
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    with harmed.client() as client:
        assert client.get("/v1/files")["data"] == []
        uploaded = wait_for(lambda: client.upload("/v1/files", rows, {"purpose": "fine-tune"}), "recovery")
        assert [file["id"] for file in client.get("/v1/files")["data"]] == [uploaded["id"]]
