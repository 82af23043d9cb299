"""A service, Postgres or the artifact store gone in the middle: 503 with Retry-After, said by /readyz, and recovery without help."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from services.common.errors import DomainError, Reason
from tests.e2e.suite.crowd import NEEDED_BY, client, crowd, ready
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
        with harmed.client() as suite, pytest.raises(DomainError) as caught:
            suite.get("/v1/base_models")
    finally:
        for member in members:
            member.send_signal(signal.SIGCONT)
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    wait_for(lambda: works(harmed), "recovery")


def test_postgres_that_is_killed_comes_back(harmed: RunningSuite) -> None:
    postgres = harmed.processes()["postgres"]
    others = {name: process.pid for name, process in harmed.processes().items() if name != "postgres"}
    asked = [one for service in ("registry", "trainer") for one in NEEDED_BY[service] if one[0] == "GET"]
    with crowd(harmed, asked) as seen:
        wait_for(lambda: seen.statuses[200] > 8, "load")
        postgres.kill()
        # Who asks meanwhile is answered 503, or waits for the half second that it takes.
        wait_for(lambda: harmed.processes().get("postgres", postgres).pid != postgres.pid, "another Postgres", 30)
        wait_for(lambda: works(harmed), "recovery")
    assert seen.faults == []
    assert {name: p.pid for name, p in harmed.processes().items() if name != "postgres"} == others
    assert "tiny" in harmed.tenon("base", "list").stdout


@pytest.mark.proof
def test_a_watch_goes_on_after_the_trainer_was_killed(harmed: RunningSuite, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n}?", "completion": "{n}."}}\n' for n in range(400)))
    command: list[str | Path] = ["train", "--base", "tiny", "--data", rows, "--name", "watched", "--epochs", "900"]
    job = harmed.tenon(*command, "--detach").stdout.strip()
    arguments = [sys.executable, "-m", "cli", "--data-dir", str(harmed.data_dir), "job", "watch", job, "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as watch:
        assert watch.stdout is not None
        lines = [watch.stdout.readline()]
        while '"metrics"' not in lines[-1]:
            lines.append(watch.stdout.readline())
        harmed.processes()["services.trainer"].kill()
        wait_for(lambda: works(harmed), "recovery")
        assert harmed.tenon("job", "cancel", job).returncode == 0
        updates = [json.loads(line) for line in (*lines, *watch.stdout)]
    assert watch.returncode == 7  # as docs/cli.md says of what was cancelled
    numbers = [update["event"]["sequence"] for update in updates if "event" in update]
    assert numbers == list(range(1, len(numbers) + 1))
    assert updates[-1]["event"]["data"]["state"] == "cancelled"


def test_a_store_that_vanishes_is_unavailable_until_it_returns(harmed: RunningSuite, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 10)
    store, aside = harmed.data_dir / "artifacts", harmed.data_dir / "aside"
    store.rename(aside)
    try:
        with client(harmed) as http:
            answer = http.post(
                "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", rows.read_bytes())}
            )
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["code"] == "artifact_store_unavailable"
    finally:
        aside.rename(store)
    with harmed.client() as suite:
        assert suite.get("/v1/files")["data"] == []
        uploaded = wait_for(lambda: suite.upload("/v1/files", rows, {"purpose": "fine-tune"}), "recovery")
        assert [file["id"] for file in suite.get("/v1/files")["data"]] == [uploaded["id"]]
        suite.delete(f"/v1/files/{uploaded['id']}")


@pytest.mark.parametrize(
    "service",
    ["registry", "trainer", pytest.param("inference", marks=pytest.mark.proof)],  # the slowest to start
)
def test_what_is_killed_is_a_503_until_it_is_back(harmed: RunningSuite, service: str) -> None:
    with client(harmed) as http:
        wait_for(ready(http), "readiness")
        with crowd(harmed, NEEDED_BY[service]) as seen:
            wait_for(lambda: seen.statuses[200] > 8, "load")
            harmed.processes()[f"services.{service}"].kill()
            told = wait_for(lambda: not_ready(http), "news of it", 10)
            assert service in told
            wait_for(ready(http), "recovery")
            served = seen.statuses[200]
            wait_for(lambda: seen.statuses[200] > served + 8, "service")
    assert seen.faults == []
    assert seen.statuses[503] > 0


def not_ready(http: httpx2.Client) -> dict[str, str]:
    answer = http.get("/readyz")
    if answer.status_code == 200:
        return {}
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    metadata: dict[str, str] = answer.json()["error"]["details"]["metadata"]
    return metadata
