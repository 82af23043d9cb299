"""Jobs that were running and paused when their suite was backed up go on where it is restored."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.client import Suite
from tests.e2e.suite.backup.taken import succeeds
from tests.support.suite import running_suite, tenon, wait_for

SETTINGS = {"TENON_CHECKPOINT_STEPS": "50", "TENON_JOB_LEASE_SECONDS": "3"}


@pytest.mark.proof
def test_they_go_on_from_their_checkpoints(tmp_path: Path, tiny_bases: dict[str, Path], rows_file: Path) -> None:
    archive = tmp_path / "backup.tar"
    with running_suite(tmp_path / "one", **SETTINGS) as suite, suite.client() as client:
        succeeds(suite, "base", "add", tiny_bases["tiny-qwen"], "--name", "tiny")
        train = ("train", "--base", "tiny", "--data", rows_file, "--epochs", "900", "--detach", "--json", "--name")
        paused = json.loads(succeeds(suite, *train, "paused"))["id"]
        wait_for(lambda: checkpoints(client, paused), "a checkpoint")
        succeeds(suite, "job", "pause", paused)
        wait_for(lambda: status(client, paused) == "paused", "the pause")
        running = json.loads(succeeds(suite, *train, "running"))["id"]
        wait_for(lambda: checkpoints(client, running), "a checkpoint")
        succeeds(suite, "backup", archive)
        assert status(client, running) == "running"
        kept = {job: checkpoints(client, job)[-1]["step_number"] for job in (paused, running)}
    ran = tenon("restore", archive, "--data-dir", tmp_path / "two")
    assert ran.returncode == 0, ran.stderr
    with running_suite(tmp_path / "two", **SETTINGS) as suite, suite.client() as client:
        assert status(client, paused) == "paused"
        succeeds(suite, "job", "resume", paused)
        for job in (running, paused):
            wait_for(lambda job=job: status(client, job) not in {"queued", "running"}, "its end")
            assert status(client, job) == "succeeded"
            steps = [checkpoint["step_number"] for checkpoint in checkpoints(client, job)]
            assert min(steps) <= kept[job]
            told = client.get(f"/v1/fine_tuning/jobs/{job}/events", limit=100)["data"]
            assert not [event for event in told if event["level"] == "error"]
        assert {adapter["id"] for adapter in client.listed("/v1/adapters")} == {"paused", "running"}


def checkpoints(client: Suite, job: str) -> list[Any]:
    found: list[Any] = client.get(f"/v1/fine_tuning/jobs/{job}/checkpoints")["data"]
    return found


def status(client: Suite, job: str) -> str:
    return str(client.get(f"/v1/fine_tuning/jobs/{job}")["status"])
