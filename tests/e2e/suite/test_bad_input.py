"""What people do wrong: a clear error each, and nothing lost or half-written."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.suite import RunningSuite, end, start_suite, tenon
from tests.support.tiny_bases import make_tiny_base

GOOD = '{"instruction": "a", "output": "b"}\n'


def pickled(path: Path) -> None:
    make_tiny_base(path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def cut_off(path: Path) -> None:
    make_tiny_base(path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


BASES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty": ("has no config.json", Path.mkdir),
    "a file": ("not a directory", lambda path: path.write_text("x")),
    "missing": ("missing", lambda path: None),
    "pickle": ("pickle", pickled),
    "cut off": ("model.safetensors", cut_off),
}


@pytest.mark.parametrize("kind", BASES)
def test_what_is_no_base_is_not_added(trained: RunningSuite, tmp_path: Path, kind: str) -> None:
    directory = tmp_path / kind
    BASES[kind][1](directory)
    before = trained.tenon("base", "list", "--json").stdout
    ran = trained.tenon("base", "add", directory, "--name", "wrong")
    assert ran.returncode in {2, 3}, ran.stderr
    assert ran.stderr.count("Error: ") == 1
    assert BASES[kind][0] in ran.stderr
    assert "Traceback" not in ran.stderr
    assert trained.tenon("base", "list", "--json").stdout == before


DATA = {
    "empty": b"",
    "empty list": b"[]",
    "blank lines": b"\n\n\n",
    "not utf-8": GOOD.encode() + b'{"instruction": "\xff\xfe", "output": "b"}\n',
    "truncated list": b'[{"instruction": "a", "output": "b"}, {"instruction": "a", "ou',
    "truncated line": GOOD.encode() + b'{"instruction": "a", "ou',
    "mixed": (GOOD + '{"prompt": "a", "completion": "b"}\n').encode(),
    "one row of 10 MB": GOOD.encode() + json.dumps({"instruction": "a", "output": "b" * 10_000_000}).encode(),
    "binary": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("kind", DATA)
def test_data_with_faults_is_not_stored(trained: RunningSuite, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(DATA[kind])
    with trained.client() as client:
        files, jobs = client.get("/v1/files"), client.get("/v1/fine_tuning/jobs")
    path = str(file)
    for command in (["data", "check", path], ["train", "--base", "tiny-qwen", "--data", path, "--name", "x"]):
        ran = trained.tenon(*command)
        assert ran.returncode == 2, (ran.stdout, ran.stderr)
        assert "Traceback" not in ran.stderr
        assert ran.stdout + ran.stderr
    with trained.client() as client:
        assert (client.get("/v1/files"), client.get("/v1/fine_tuning/jobs")) == (files, jobs)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--base", "nobody", "--data", "ROWS", "--name", "x"],
        ["chat", "nobody", "-m", "hi"],
        ["chat", "parrot:nobody", "-m", "hi"],
        ["chat", f"parrot@{'0' * 64}", "-m", "hi"],
        ["job", "watch", "ftjob-nobody"],
        ["job", "cancel", "ftjob-nobody"],
        ["job", "pause", "ftjob-nobody"],
        ["job", "resume", "ftjob-nobody"],
    ],
)
def test_unknown_names_are_not_found(trained: RunningSuite, rows_file: Path, command: list[str]) -> None:
    ran = trained.tenon(*(str(rows_file) if word == "ROWS" else word for word in command))
    assert ran.returncode == 4, ran.stderr
    assert ran.stderr.startswith("Error: ")
    assert ran.stdout == ""


@pytest.mark.parametrize("name", ["../up", "A B", "", "ä", "x" * 64])
def test_names_that_cannot_be_are_refused(trained: RunningSuite, rows_file: Path, name: str) -> None:
    ran = trained.tenon("train", "--base", "tiny-qwen", "--data", rows_file, "--name", name)
    assert ran.returncode == 2, ran.stderr


def test_a_job_for_a_base_that_has_vanished_fails_and_says_so(
    trained: RunningSuite, rows_file: Path, tmp_path: Path
) -> None:
    base = make_tiny_base(tmp_path / "gone", seed=9)
    assert trained.tenon("base", "add", base, "--name", "gone").returncode == 0
    shutil.rmtree(base)
    ran = trained.tenon("train", "--base", "gone", "--data", rows_file, "--name", "never")
    assert ran.returncode == 7
    assert str(base) in ran.stderr
    assert "never" not in trained.tenon("adapter", "list", "--json").stdout


def test_a_base_whose_bytes_changed_answers_nothing(trained: RunningSuite, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "changed", seed=10)
    assert trained.tenon("base", "add", base, "--name", "changed").returncode == 0
    make_tiny_base(base, seed=11)
    ran = trained.tenon("chat", "changed", "-m", "hi")
    assert ran.returncode == 3
    assert "changed" in ran.stderr


def test_a_name_that_would_be_lost_is_asked_for(trained: RunningSuite, tmp_path: Path) -> None:
    before = trained.tenon("base", "list", "--json").stdout
    place = make_tiny_base(tmp_path / "base копия", seed=12)
    for command in (["base", "add", str(place)], ["adapter", "import", str(place), "--base", "tiny-qwen"]):
        ran = trained.tenon(*command)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.endswith("Give one with --name.\n")
    assert trained.tenon("base", "list", "--json").stdout == before


def test_a_base_of_another_architecture_is_no_derivative(trained: RunningSuite, tmp_path: Path) -> None:
    before = trained.tenon("base", "list", "--json").stdout
    place = make_tiny_base(tmp_path / "stranger", "gpt2", seed=13)
    ran = trained.tenon("base", "add", place, "--derived-from", "tiny-qwen", "--json")
    assert ran.returncode == 3
    assert ran.stdout == ""
    error = json.loads(ran.stderr.splitlines()[-1])["error"]
    assert "stranger" in error["message"]
    assert "cannot be derived from tiny-qwen" in error["message"]
    assert "They are different architectures" in error["message"]
    assert (error["reason"], error["metadata"]["verdict"]) == ("BASE_FINGERPRINT_MISMATCH", "ARCHITECTURE_DIFFERS")
    assert trained.tenon("base", "list", "--json").stdout == before


def test_what_is_no_version_is_told_with_the_aliases_there_are(trained: RunningSuite, tmp_path: Path) -> None:
    ran = trained.tenon("adapter", "export", "parrot", tmp_path / "out", "--version", "latestt")
    assert ran.returncode == 2
    assert "'latestt' is neither an alias of parrot (it has latest) nor a version" in ran.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = tenon("up", "--data-dir", tmp_path / "d", "--listen", f"127.0.0.1:{port}")
    assert ran.returncode == 3
    assert str(port) in ran.stderr
    assert "Traceback" not in ran.stderr


def test_other_addresses_than_this_machines_need_keys(tmp_path: Path) -> None:
    ran = tenon("up", "--data-dir", tmp_path / "d", "--listen", "0.0.0.0:0")
    assert ran.returncode == 3
    assert "Traceback" not in ran.stderr


def test_a_data_directory_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "format").write_text("999\n")
    ran = tenon("up", "--data-dir", directory, "--listen", "127.0.0.1:0")
    assert ran.returncode == 3
    assert "999" in ran.stderr
    assert (directory / "format").read_text() == "999\n"
    assert not (directory / "postgres").exists()


def test_a_key_that_cannot_be_used_is_named_before_anything_starts(tmp_path: Path) -> None:
    keys = tmp_path / "d" / "keys"
    keys.mkdir(parents=True)
    (keys / "signing.pem").write_text("no key")
    ran = tenon("up", "--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0")
    assert ran.returncode == 2
    assert ran.stderr.count("Error: ") == 1
    assert str(keys / "signing.pem") in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list((tmp_path / "d" / "logs").iterdir())


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = tenon("up", "--data-dir", tmp_path / "file" / "d", "--listen", "127.0.0.1:0")
    assert ran.returncode in {2, 3}
    assert str(tmp_path / "file") in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_second_suite_on_the_same_directory_is_refused(suite: RunningSuite) -> None:
    process = start_suite(suite.data_dir)
    assert process.wait(timeout=60) == 3
    end(process)
    assert suite.tenon("base", "list").returncode == 0
