"""The whole REST API, asked with what its own description allows and forbids: no 5xx, and no answer that is not described."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.auth.keys import new_key
from tests.support.suite import RunningSuite, environment, running_suite
from tests.support.tiny_bases import make_tiny_base

pytestmark = pytest.mark.proof

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of its own: what is sent makes projects and keys."""
    root = tmp_path_factory.mktemp("fuzzed")
    with running_suite(root / "data") as suite:
        assert suite.tenon("base", "add", make_tiny_base(root / "tiny"), "--name", "tiny").returncode == 0
        yield suite


def fuzz(suite: RunningSuite, directory: Path, key: str | None, examples: int) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("schemathesis")
    authorization = ["--header", f"Authorization: Bearer {key}"] if key else []
    command = [
        str(program), "run", f"{suite.endpoints['gateway']}/openapi.json", *authorization, "--checks", CHECKS,
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--request-timeout", "60", "--seed", "1",
    ]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=directory, env=environment(), timeout=3000
    )


@pytest.mark.parametrize("who", ["admin", "stranger", "nobody"])
def test_no_answer_is_a_fault_or_undescribed(fuzzed: RunningSuite, tmp_path: Path, who: str) -> None:
    key = {"admin": fuzzed.key, "stranger": new_key(), "nobody": None}[who]
    ran = fuzz(fuzzed, tmp_path, key, examples=40 if who == "admin" else 5)
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert "passed" in ran.stdout
