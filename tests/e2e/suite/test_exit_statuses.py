"""Every exit status of docs/cli.md, provoked; what is on stdout and stderr then, with --json and without."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.output import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_JOB_FAILED,
    EXIT_NOT_ALLOWED,
    EXIT_NOT_FOUND,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_UNREAD,
    EXIT_UNUSABLE,
)
from tests.support.suite import RunningSuite, environment

CASES = {
    "a name that is taken": (EXIT_FAILED, "PROJECT_EXISTS", "default", ["project", "create", "default"]),
    "an option that is missing": (EXIT_UNUSABLE, "INVALID_ARGUMENT", "--base", ["train"]),
    "a file that is missing": (EXIT_UNUSABLE, "INVALID_ARGUMENT", "Check its spelling", ["data", "upload", "/nothing"]),
    "a directory": (EXIT_UNUSABLE, "INVALID_ARGUMENT", "Name a file in it", ["data", "check", "/"]),
    "another base": (
        EXIT_REFUSED,
        "ADAPTER_BASE_MISMATCH",
        "tiny-qwen",
        ["chat", "parrot", "-m", "x", "--base", "tiny-gpt"],
    ),
    "an adapter with a typo": (
        EXIT_NOT_FOUND,
        "ADAPTER_NOT_FOUND",
        "Did you mean parrot?",
        ["adapter", "show", "parot"],
    ),
    "a base with a typo": (
        EXIT_NOT_FOUND,
        "BASE_MODEL_NOT_FOUND",
        "Did you mean tiny-gpt?",
        ["base", "show", "tiny-gtp"],
    ),
    "a model with a typo": (EXIT_NOT_FOUND, "MODEL_NOT_FOUND", "Did you mean parrot?", ["model", "load", "parrrot"]),
    "no such job": (EXIT_NOT_FOUND, "TRAINING_JOB_NOT_FOUND", "`tenon job list`", ["job", "show", "nothing"]),
    "no such data": (EXIT_NOT_FOUND, "DATASET_NOT_FOUND", "`tenon data list`", ["data", "delete", "nothing"]),
    "no such alias": (EXIT_NOT_FOUND, "ALIAS_NOT_FOUND", "latest", ["adapter", "rollback", "parrot", "--alias", "no"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_fails_is_told_on_stderr_alone(trained: RunningSuite, case: str) -> None:
    status, reason, words, command = CASES[case]
    ran = trained.invoke(*command, "--json")
    assert (ran.exit_code, ran.stdout) == (status, ""), ran.stderr
    error = json.loads(ran.stderr.splitlines()[-1])["error"]
    assert error["reason"] == reason
    assert words in error["message"]


def test_for_people_it_is_a_sentence(trained: RunningSuite) -> None:
    ran = trained.tenon("adapter", "show", "parot")
    assert (ran.returncode, ran.stdout) == (EXIT_NOT_FOUND, "")
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("Error: There is no adapter ")
    assert ran.stderr.endswith(" Did you mean parrot?\n")


def test_a_suite_that_does_not_answer_and_a_key_that_opens_nothing(trained: RunningSuite) -> None:
    away = trained.tenon("status", "--json", env=environment(TENON_URL="http://127.0.0.1:1"))
    assert (away.returncode, away.stdout) == (EXIT_UNAVAILABLE, "")
    assert "`tenon up`" in json.loads(away.stderr)["error"]["message"]
    closed = trained.tenon("status", env=environment(TENON_API_KEY="tenon-none"))
    assert (closed.returncode, closed.stdout) == (EXIT_NOT_ALLOWED, "")
    assert "TENON_API_KEY" in closed.stderr
    assert trained.invoke("status").exit_code == 0


def test_a_job_that_is_watched_goes_on_after_ctrl_c_and_fails_the_watch_when_cancelled(
    trained: RunningSuite, rows_file: Path
) -> None:
    train = ("train", "--base", "tiny-gpt", "--data", rows_file, "--name", "long", "--epochs", "900", "--detach")
    job = trained.invoke(*train).stdout.strip()
    command = [sys.executable, "-m", "cli", "--data-dir", str(trained.data_dir), "job", "watch", job, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["job"]["id"] == job
        watch.send_signal(signal.SIGINT)
        rest, told = watch.communicate(timeout=60)
    assert watch.returncode == EXIT_INTERRUPTED
    assert all("event" in json.loads(line) for line in rest.splitlines())
    error = json.loads(told)["error"]
    assert error["reason"] == "CANCELLED"
    assert error["message"].startswith(f"Interrupted. {job} goes on.")
    assert json.loads(trained.invoke("job", "cancel", job, "--json").stdout)["id"] == job
    ended = trained.tenon("job", "watch", job)
    assert (ended.returncode, ended.stdout) == (EXIT_JOB_FAILED, "")
    assert ended.stderr == f"{job} ended as cancelled.\n"


def test_a_reader_that_leaves_ends_it_without_a_word(trained: RunningSuite) -> None:
    command = [sys.executable, "-m", "cli", "--data-dir", str(trained.data_dir), "adapter", "list"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        told = process.stderr.read()
        assert (process.wait(timeout=60), told) == (EXIT_UNREAD, "")


def test_an_export_to_a_disk_that_is_full_leaves_nothing(trained: RunningSuite, tmp_path: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    ran = trained.tenon("adapter", "export", "parrot", tmp_path / "out", preexec_fn=no_room)
    assert (ran.returncode, ran.stdout) == (EXIT_FAILED, "")
    assert "Free some space" in ran.stderr
    assert list(tmp_path.iterdir()) == []
