"""From a base directory and a file to an answer, by the command line."""

import json
import re
import shutil
from pathlib import Path

from services.common.identity import fingerprint_base
from tests.support.suite import RunningSuite, environment, tenon


def test_a_base_is_listed_with_its_fingerprint(trained: RunningSuite, tiny_bases: dict[str, Path]) -> None:
    rows = json.loads(trained.tenon("base", "list", "--json").stdout)
    known = {row["id"]: row["fingerprint"]["id"] for row in rows}
    # Other tests may have added theirs to the same suite.
    assert known.items() >= {name: fingerprint_base(directory).id for name, directory in tiny_bases.items()}.items()


def test_adding_a_base_again_changes_nothing(trained: RunningSuite, tiny_bases: dict[str, Path]) -> None:
    before = trained.tenon("base", "list", "--json").stdout
    assert trained.tenon("base", "add", tiny_bases["tiny-qwen"], "--name", "tiny-qwen").returncode == 0
    assert trained.tenon("base", "list", "--json").stdout == before


def test_a_copy_of_a_base_is_listed_with_its_origin(
    trained: RunningSuite, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    assert "DERIVED FROM" not in trained.tenon("base", "list").stdout
    copy = shutil.copytree(tiny_bases["tiny-gpt"], tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 1e-6}))
    added = trained.tenon("base", "add", copy, "--name", "gpt-copy", "--derived-from", "tiny-gpt")
    assert added.returncode == 0, added.stderr
    assert added.stdout.endswith("\nderived from tiny-gpt\n")
    heading, *rows = trained.tenon("base", "list").stdout.splitlines()
    assert heading.endswith("DERIVED FROM")
    assert [row.split()[0] for row in rows if row.endswith("  tiny-gpt")] == ["gpt-copy"]


def test_training_registers_an_adapter_by_itself(trained: RunningSuite) -> None:
    rows = json.loads(trained.tenon("adapter", "list", "--json").stdout)
    parrot = next(row for row in rows if row["id"] == "parrot")
    assert parrot["base_model"] == "tiny-qwen"
    assert len(parrot["latest_version"]) == 64


def test_base_and_adapter_answer_differently(trained: RunningSuite) -> None:
    answers = {}
    shown = trained.tenon("adapter", "show", "parrot").stdout
    version = shown.removeprefix("parrot: answers with ")[:12]
    assert shown.startswith(f"parrot: answers with {version} (witnessed, on tiny-qwen)\n")
    for model in ("tiny-qwen", "parrot", "parrot:latest", f"parrot@{version}"):
        ran = trained.tenon("chat", model, "-m", "Say 3", "--max-tokens", "12", "--temperature", "0", "--json")
        assert ran.returncode == 0, ran.stderr
        answers[model] = json.loads(ran.stdout)["choices"][0]["message"]["content"]
    assert answers["parrot"] == answers["parrot:latest"] == answers[f"parrot@{version}"]
    assert answers["parrot"] != answers["tiny-qwen"]


def test_a_conversation_is_read_from_standard_input(trained: RunningSuite) -> None:
    ran = trained.tenon("chat", "parrot", "--max-tokens", "4", "--temperature", "0", input="Say 1\nSay 2\n")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) >= 2


def test_the_wrong_base_is_refused_with_both_names(trained: RunningSuite) -> None:
    ran = trained.tenon("chat", "parrot", "-m", "Say 3", "--base", "tiny-gpt")
    assert ran.returncode == 3
    assert "tiny-qwen" in ran.stderr
    assert "tiny-gpt" in ran.stderr
    assert ran.stdout == ""


def test_ranks_by_pattern_and_whole_modules_are_trained_and_served(trained: RunningSuite, rows_file: Path) -> None:
    train = ("train", "--base", "tiny-qwen", "--data", rows_file, "--name", "patterned", "--epochs", "15", "--force")
    options = ("--rank-pattern", "q_proj=2", "--rank-pattern", "layers.0.*.q_proj=3", "--alpha-pattern", "mlp.*=4.5")
    ran = trained.tenon(*train, *options, "--module-to-save", "lm_head", "--use-dora")
    assert ran.returncode == 0, ran.stderr
    answered = trained.tenon("chat", "patterned", "-m", "Say 3", "--max-tokens", "12", "--temperature", "0")
    assert answered.returncode == 0, answered.stderr
    jobs = json.loads(trained.tenon("job", "list", "--json").stdout)
    job = next(job for job in jobs if "patterned" in json.dumps(job))
    chosen = job["method"]["supervised"]["hyperparameters"]
    assert chosen["rank_pattern"] == {"q_proj": 2, "layers.0.*.q_proj": 3}
    assert (chosen["alpha_pattern"], chosen["modules_to_save"]) == ({"mlp.*": 4.5}, ["lm_head"])
    wrong = trained.tenon(*train, "--rank-pattern", "q_proj")
    assert wrong.returncode == 2
    assert "'q_proj' is not a pattern and its number, such as q_proj=8" in wrong.stderr


def test_a_job_can_be_listed_watched_and_cancelled(trained: RunningSuite, rows_file: Path) -> None:
    train = ("train", "--base", "tiny-gpt", "--data", rows_file, "--validation-data", rows_file, "--name", "slow")
    started = trained.tenon(*train, "--epochs", "900", "--batch-size", "1", "--priority", "5", "--detach", "--json")
    job = json.loads(started.stdout)["id"]
    assert json.loads(started.stdout)["validation_file"]
    assert job in trained.tenon("job", "list", "--json").stdout
    listed = trained.tenon("job", "list").stdout.splitlines()
    assert [row for row in listed if re.fullmatch(rf"{job} .* [-\d]+ [:\d]+", row)]
    assert [row for row in listed if re.search(r" parrot@[0-9a-f]{12} ", row)]
    assert trained.tenon("job", "pause", job).stdout in {f"{job} is pausing.\n", f"{job} is paused.\n"}
    assert json.loads(trained.tenon("job", "resume", job, "--json").stdout)["tenon"]["priority"] == 5
    assert trained.tenon("job", "cancel", job).returncode == 0
    watched = trained.tenon("job", "watch", job)
    assert watched.returncode == 7
    assert "cancelled" in watched.stderr
    assert "slow" not in trained.tenon("adapter", "list", "--json").stdout


def test_data_is_checked_without_being_stored(trained: RunningSuite, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a"}\n{"instruction": 1, "output": "b"}\n')
    with trained.client() as client:
        before = client.get("/v1/files")
    ran = trained.tenon("data", "check", file)
    assert ran.returncode == 2
    assert "bad.jsonl:2" in ran.stdout
    assert "bad.jsonl:3" in ran.stdout
    with trained.client() as client:
        assert client.get("/v1/files") == before


def test_data_is_stored_measured_and_shown(trained: RunningSuite, rows_file: Path) -> None:
    checked = trained.tenon("data", "check", rows_file, "--base", "tiny-qwen")
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"^tiny-qwen, rows cut to 512 tokens; \d+ rows measured$", checked.stdout, re.MULTILINE)
    assert "of them learnt" in checked.stdout
    data_id = trained.tenon("data", "upload", rows_file).stdout.strip()
    assert data_id in trained.tenon("data", "list").stdout
    short = trained.tenon("data", "show", data_id, "--base", "tiny-qwen", "--max-sequence-length", "16")
    assert "nothing left to learn" in short.stdout
    shown = trained.tenon("data", "preview", data_id, "--base", "tiny-qwen", "--limit", "1")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("row 1: ")
    assert re.search(r"<\|im_start\|>assistant\n⟦.+<\|im_end\|>⟧", shown.stdout)
    document = json.loads(trained.tenon("data", "preview", data_id, "--base", "tiny-qwen", "--json").stdout)
    assert {token["supervised"] for row in document["data"] for token in row["tokens"]} == {True, False}
    assert trained.tenon("data", "preview", data_id, "--base", "nobody").returncode == 4


def test_a_fingerprint_needs_no_suite(tiny_bases: dict[str, Path]) -> None:
    ran = tenon("fingerprint", tiny_bases["tiny-qwen"], "--json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["id"] == fingerprint_base(tiny_bases["tiny-qwen"]).id


def test_without_a_suite_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    ran = tenon("base", "list", data_dir=tmp_path / "nothing", env=environment(TENON_URL="http://127.0.0.1:1"))
    assert ran.returncode == 5
    assert "tenon up" in ran.stderr
    assert "Traceback" not in ran.stderr
