"""What the command line offers of a suite beyond the whole way: looking, moving aliases, memory, files, completion."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.command_line import tenon
from services.common.errors import DomainError, Reason
from tests.support.suite import RunningSuite, environment


def document(suite: RunningSuite, *arguments: str | Path) -> object:
    """What a command prints with --json."""
    ran = suite.invoke(*arguments, "--json")
    assert ran.exit_code == 0, ran.stderr
    return json.loads(ran.stdout)


def refusal(suite: RunningSuite, reason: Reason, *arguments: str) -> str:
    """The sentence with which a command is refused."""
    error = suite.invoke(*arguments).exception
    assert isinstance(error, DomainError)
    assert error.reason is reason
    return error.message


@pytest.fixture(scope="module")
def job(trained: RunningSuite) -> str:
    """The job that made `parrot`."""
    with trained.client() as client:
        jobs = client.listed_as_openai("/v1/fine_tuning/jobs")
        return str(next(job["id"] for job in jobs if job["tenon"]["adapter"] == "parrot"))


def test_a_job_is_shown_with_its_events_oldest_first(trained: RunningSuite, job: str) -> None:
    shown = trained.invoke("job", "show", job).stdout.splitlines()
    assert shown[0] == job
    assert "state:    succeeded" in shown
    assert "progress: step 120 of 120" in "\n".join(shown)
    events = trained.invoke("job", "events", job).stdout.splitlines()
    assert events[0].endswith("  info   The job is queued")
    assert events[-1].endswith("  info   The job is succeeded")
    last = document(trained, "job", "events", job, "--limit", "2")
    assert isinstance(last, list)
    assert [event["message"] for event in last] == [line.split("  ", 2)[-1].strip() for line in events[-2:]]
    assert isinstance(document(trained, "job", "checkpoints", job), list)


def test_lists_are_read_page_by_page(trained: RunningSuite, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with trained.client() as client:
        path = f"/v1/fine_tuning/jobs/{job}/events"
        whole = [event["id"] for event in client.listed_as_openai(path)]
        bases = [base["id"] for base in client.listed("/v1/base_models")]
        monkeypatch.setattr("cli.client.PAGE", 50)
        assert [event["id"] for event in client.listed_as_openai(path)] == whole
        assert [event["id"] for event in client.listed_as_openai(path, limit=51)] == whole[:51]
        monkeypatch.setattr("cli.client.PAGE", 1)
        assert [base["id"] for base in client.listed("/v1/base_models")] == bases
        assert [base["id"] for base in client.listed("/v1/base_models", limit=1)] == bases[:1]
    assert len(whole) > 100
    assert len(bases) > 1


def test_a_base_and_a_key_are_shown(trained: RunningSuite) -> None:
    base = document(trained, "base", "show", "tiny-qwen")
    assert isinstance(base, dict)
    assert base["fingerprint"]["document"]["scheme"] == "tenon.base/1"
    assert f"fingerprint:   {base['fingerprint']['id']}\n" in trained.invoke("base", "show", "tiny-qwen").stdout
    made = trained.invoke("key", "create", "--scope", "read", "--name", "shown", "--requests-per-minute", "7")
    key_id = made.stderr.split()[0]
    shown = trained.invoke("key", "show", key_id).stdout
    assert "name:     shown\n" in shown
    assert "limits:   7 requests a minute\n" in shown
    assert made.stdout.strip() not in shown


def test_an_alias_goes_back_to_the_version_before_and_away(trained: RunningSuite, tmp_path: Path) -> None:
    place = tmp_path / "again"
    assert trained.invoke("adapter", "export", "parrot", place).exit_code == 0
    versions = []
    for note in ("one", "two"):
        config = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps({**config, "revision": note}))
        imported = document(
            trained, "adapter", "import", place, "--base", "tiny-qwen", "--name", "turning", "--ignore-manifest"
        )
        assert isinstance(imported, dict)
        versions.append(imported["id"])
    moved = document(trained, "adapter", "rollback", "turning")
    assert isinstance(moved, dict)
    assert moved["version"] == versions[0]
    none = trained.invoke("adapter", "rollback", "turning", "--json")
    assert (none.exit_code, none.stdout) == (4, "")
    assert trained.invoke("adapter", "alias", "turning", "stable", versions[1]).exit_code == 0
    assert trained.invoke("adapter", "unalias", "turning", "stable").stdout == "turning:stable is deleted.\n"
    found = document(trained, "adapter", "show", "turning")
    assert isinstance(found, dict)
    assert [alias["id"] for alias in found["aliases"]] == ["latest"]


def test_models_are_listed_loaded_and_unloaded(trained: RunningSuite) -> None:
    assert trained.invoke("model", "load", "parrot", "--base", "tiny-qwen").exit_code == 0
    listed = trained.invoke("model", "list").stdout
    assert [line.split()[1:] for line in listed.splitlines() if line.startswith("parrot ")] == [
        ["adapter", "tiny-qwen", "ready", "latest"]
    ]
    loaded = document(trained, "model", "loaded")
    assert isinstance(loaded, list)
    assert any((model["adapter_version"] or "").startswith("parrot@") for model in loaded)
    assert trained.invoke("model", "show", "parrot:latest").stdout.startswith("parrot:latest: adapter on tiny-qwen\n")
    assert trained.invoke("model", "unload", "parrot").stdout == "parrot is not in memory any more.\n"
    assert trained.invoke("model", "unload", "parrot").stdout == "parrot was not in memory.\n"


def test_a_file_comes_back_as_it_was_and_goes(trained: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    data_id = trained.invoke("data", "upload", rows_file).stdout.strip()
    out = tmp_path / "out.json"
    assert document(trained, "data", "download", data_id, "-o", out) == {
        "id": data_id,
        "file": str(out),
        "bytes": rows_file.stat().st_size,
    }
    assert out.read_bytes() == rows_file.read_bytes()
    assert trained.invoke("data", "download", data_id, "-o", "-").stdout == rows_file.read_text()
    again = trained.invoke("data", "download", data_id, "-o", out, "--json")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    nowhere = trained.invoke("data", "download", data_id, "-o", tmp_path / "no" / "where", "--json")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert trained.invoke("data", "delete", data_id).stdout == f"{data_id} is deleted.\n"
    assert list(tmp_path.iterdir()) == [out]


def completed(words: str, **variables: str) -> list[str]:
    """The names that bash is offered for the last of some words."""
    asked = {"_TENON_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    ran = CliRunner().invoke(tenon, prog_name="tenon", env={**asked, **variables})
    assert ran.stderr == ""
    return [line.removeprefix("plain,") for line in ran.stdout.split()]


def test_a_shell_completes_names_and_is_silent_without_a_suite(trained: RunningSuite, job: str) -> None:
    known = {"TENON_URL": trained.endpoints["gateway"], "TENON_API_KEY": trained.key}
    assert completed("tenon adapter show par", **known) == ["parrot"]
    assert job in completed("tenon job watch ", **known)
    assert "tiny-gpt" in completed("tenon train --base tiny", **known)
    assert {"parrot", "tiny-gpt"} <= set(completed("tenon chat ", **known))
    assert completed("tenon adapter show par", TENON_URL="http://127.0.0.1:1") == []
    assert completed("tenon job show f", TENON_URL="http://[") == []


def on_a_terminal(suite: RunningSuite, *arguments: str | Path, **variables: str) -> str:
    """What a command prints on a terminal of 80 columns, stdout and stderr."""
    main, end = pty.openpty()
    command = [sys.executable, "-m", "cli", "--data-dir", str(suite.data_dir), *map(str, arguments)]
    env = environment(COLUMNS="80", TERM="xterm", **variables)
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    printed = bytearray()
    try:
        while piece := os.read(main, 65536):
            printed += piece
    except OSError:  # Linux says so when nobody holds the other end any more
        pass
    os.close(main)
    assert process.wait(timeout=60) == 0, printed
    return printed.decode().replace("\r\n", "\n")


def test_on_a_terminal_tables_are_bold_and_fit_and_uploads_have_a_bar(
    trained: RunningSuite, job: str, tmp_path: Path
) -> None:
    shown = on_a_terminal(trained, "job", "list")
    assert "\x1b[1m" in shown
    assert f"{job}  succeeded" in shown
    plain = on_a_terminal(trained, "job", "list", NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    large = tmp_path / "large.jsonl"
    row = json.dumps({"instruction": "a" * 2000, "output": "b"})
    large.write_text("".join(f"{row}\n" for _ in range(600)))
    assert "large.jsonl" in on_a_terminal(trained, "data", "upload", large)
    assert trained.invoke("data", "upload", large).stderr == ""


def test_what_was_made_is_deleted_and_what_needs_it_is_named(trained: RunningSuite, tmp_path: Path) -> None:
    exported = tmp_path / "parrot"
    assert trained.invoke("adapter", "export", "parrot", exported).exit_code == 0
    imported = trained.invoke("adapter", "import", exported, "--base", "tiny-qwen", "--name", "brief")
    assert imported.exit_code == 0, imported.stderr
    assert "aliases/latest" in refusal(trained, Reason.RESOURCE_IN_USE, "adapter", "delete", "brief")
    with trained.client() as client:
        version = client.get("/v1/adapters/brief")["latest_version"]
    refusal(trained, Reason.RESOURCE_IN_USE, "adapter", "delete", "brief", "--version", version[:8])
    assert trained.invoke("adapter", "unalias", "brief", "latest").exit_code == 0
    gone = trained.invoke("adapter", "delete", "brief", "--version", version[:8])
    assert gone.stdout == f"Version {version[:12]} of brief is deleted.\n"
    assert document(trained, "adapter", "delete", "brief", "--force") == {
        "id": "brief",
        "object": "adapter",
        "deleted": True,
    }
    assert "parrot" in refusal(trained, Reason.RESOURCE_IN_USE, "base", "delete", "tiny-qwen")
    refusal(trained, Reason.TRAINING_JOB_NOT_FOUND, "job", "delete", "job-none")


def test_a_project_is_made_and_deleted(trained: RunningSuite) -> None:
    assert trained.invoke("project", "create", "fleeting").exit_code == 0
    assert trained.invoke("project", "delete", "fleeting").stdout == "fleeting is deleted.\n"
    assert "fleeting" not in trained.invoke("project", "list").stdout


def test_a_collection_says_what_it_would_do(trained: RunningSuite) -> None:
    told = trained.invoke("collect", "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert "blobs would be deleted: 0.0 of" in told.stdout
    found = document(trained, "collect")
    assert isinstance(found, dict)
    assert (found["dry_run"], found["collected_count"]) == (False, 0)
