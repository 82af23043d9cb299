"""A web frontend's client: generated from the live document, a program that is checked against it, and its run."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.node import NODE, node_environment
from tests.support.suite import RunningSuite

SOURCES = Path(__file__).parent / "typescript"


def node(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(NODE), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=directory, env=node_environment(), timeout=120
    )


def compiled(directory: Path) -> "subprocess.CompletedProcess[str]":
    return node(directory, "node_modules/typescript/bin/tsc", "--project", ".")


@pytest.fixture(scope="module")
def client(trained: RunningSuite, project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program beside the client of the running suite's document, generated as docs/clients.md says."""
    directory = tmp_path_factory.mktemp("typescript") / "client"
    shutil.copytree(SOURCES, directory)
    (directory / "node_modules").symlink_to(project_root / "node_modules")
    document = httpx2.get(f"{trained.endpoints['gateway']}/openapi.json").raise_for_status()
    (directory / "openapi.json").write_bytes(document.content)
    made = node(directory, "node_modules/@hey-api/openapi-ts/bin/run.js", "--file", "openapi-ts.config.mjs")
    assert made.returncode == 0, made.stdout + made.stderr
    return directory


def test_the_program_compiles_and_a_wrong_one_does_not(client: Path, tmp_path: Path) -> None:
    # What must not compile is in it, marked as such: a mark without an error is an error.
    ran = compiled(client)
    assert ran.returncode == 0, ran.stdout
    wrong = tmp_path / "wrong"
    shutil.copytree(client, wrong, symlinks=True)
    program = wrong / "client.ts"
    program.write_text(program.read_text().replace("file.tenon.format", "file.tenon.fromat"))
    assert "Property 'fromat' does not exist" in compiled(wrong).stdout


def test_it_does_what_openai_has_no_word_for(client: Path, trained: RunningSuite) -> None:
    ran = node(client, "client.ts", trained.endpoints["gateway"], trained.key)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert {"tiny-qwen Qwen2ForCausalLM", "tiny-gpt GPT2LMHeadModel"} <= set(found["bases"])
    assert found["file"] == {"rows": 12, "format": "alpaca"}
    assert [(fault["line"], fault["field"]) for fault in found["check"]["faults"]] == [(13, "output")]
    assert found["check"]["good"] == 12
    assert {"info NO_VALIDATION", "warning FEW_ROWS"} <= set(found["plan"])
    assert found["states"][-1] == "succeeded"
    assert "parrot tiny-qwen witnessed" in found["adapters"]
    assert found["alias"]
    assert f"tiny-qwen parrot@{found['version']}" in found["loaded"]
    assert (found["refusal"]["status"], found["refusal"]["code"]) == (400, "adapter_base_mismatch")
    assert {"expected_base", "actual_base", "verdict"} <= set(found["refusal"]["told"])
    assert found["stranger"] == [401, "unauthenticated"]
