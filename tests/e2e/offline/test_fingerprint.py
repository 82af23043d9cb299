"""`tenon fingerprint`, and what the offline commands share: hashing once, being interrupted, doing without torch."""

import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.common.identity import BaseFingerprint, fingerprint_base
from tests.e2e.offline.machine import Machine
from tests.support.suite import wait_for


def test_the_document(machine: Machine, base: Path) -> None:
    ran = machine.tenon("fingerprint", base, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == json.loads(fingerprint_base(base).to_document())


def test_a_declared_origin(machine: Machine, base: Path, base_ids: dict[str, str]) -> None:
    root = base_ids["other-weights"]
    ran = machine.tenon("fingerprint", base, "--derived-from", root, "--json")
    stated = BaseFingerprint.from_document(json.dumps(json.loads(ran.stdout)).encode())
    assert (stated.id, stated.derived_from) == (base_ids["tiny-qwen"], root)
    assert f"derived from:  {root}\n" in machine.tenon("fingerprint", base, "--derived-from", root).stdout


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "origin"])
def test_input_that_cannot_be_used(machine: Machine, base: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    arguments = [base, "--derived-from", "abc"] if kind == "origin" else [tmp_path / kind]
    ran = machine.tenon("fingerprint", *arguments, "--json")
    document = json.loads(ran.stdout)
    assert document.keys() == {"verdict", "reason", "message"}
    assert (ran.returncode, ran.stderr, document["verdict"]) == (2, "", "UNUSABLE")
    assert document["reason"] == ("FINGERPRINT_INVALID" if kind == "origin" else "BASE_NOT_A_MODEL")
    told = machine.tenon("fingerprint", *arguments)
    assert (told.returncode, told.stdout, told.stderr) == (2, "", f"Error: {document['message']}\n")


def test_what_was_hashed_once_is_remembered(machine: Machine, base: Path, base_ids: dict[str, str]) -> None:
    def id_of(*options: str) -> str:
        return str(json.loads(machine.tenon("fingerprint", base, "--json", *options).stdout)["id"])

    assert id_of() == base_ids["tiny-qwen"]
    assert machine.digests.stat().st_mode & 0o777 == 0o700
    (entry,) = [file for file in machine.digests.iterdir() if not file.name.startswith("document-")]
    # As nobody but its owner can: then the second run shows that it hashed nothing, and --rehash that it hashed all.
    known = json.loads(entry.read_text())
    known["digests"] = dict.fromkeys(known["digests"], "0" * 64)
    entry.write_text(json.dumps(known))
    assert id_of() != base_ids["tiny-qwen"]
    assert id_of("--rehash") == base_ids["tiny-qwen"]
    assert id_of() == base_ids["tiny-qwen"]


def test_a_cache_that_cannot_be_written_is_no_fault(machine: Machine, base: Path, base_ids: dict[str, str]) -> None:
    machine.home.mkdir(parents=True)
    (machine.home / "cache").write_text("a file")
    ran = machine.tenon("fingerprint", base)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert base_ids["tiny-qwen"] in ran.stdout


@pytest.fixture
def large_base(base: Path, tmp_path: Path) -> Path:
    """A vocabulary of more bytes than can be hashed while a test waits; nearly none of them is on the disk."""
    directory = shutil.copytree(base, tmp_path / "large")
    weights = directory / "model.safetensors"
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__")
    header["model.embed_tokens.weight"]["shape"] = [2**29, 32]
    end = 0
    for entry in header.values():
        begin, end = end, end + math.prod(entry["shape"]) * 4
        entry["data_offsets"] = [begin, end]
    text = json.dumps(header).encode()
    with weights.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return directory


@pytest.mark.parametrize("command", ["fingerprint", "verify", "seal"])
def test_an_interrupt_ends_it_at_once(machine: Machine, adapter: Path, large_base: Path, command: str) -> None:
    arguments: dict[str, list[str | Path]] = {
        "fingerprint": [large_base, "--json"],
        "verify": [adapter, "--base", large_base, "--json", "--allow-undeclared"],
        "seal": [adapter, "--base", large_base, "--json"],
    }
    process = machine.start(command, *arguments[command])
    weights = str(large_base / "model.safetensors")
    opened = psutil.Process(process.pid).open_files
    wait_for(lambda: process.poll() is not None or weights in {file.path for file in opened()}, "hashing")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert json.loads(err.splitlines()[-1])["error"] == {
        "reason": "CANCELLED",
        "message": "Interrupted.",
        "metadata": {},
    }


def test_torch_could_not_have_been_imported(machine: Machine) -> None:
    """What all tests here rely on."""
    command = [sys.executable, "-c", "import torch"]
    ran = subprocess.run(command, env=machine.settings(), capture_output=True, text=True, check=False)
    assert "RuntimeError: torch was imported" in ran.stderr
