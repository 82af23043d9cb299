"""One suite for all the tests here that do not harm it, with two tiny bases and a trained adapter."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.suite import RunningSuite, running_suite
from tests.support.tiny_bases import make_tiny_base

ROWS = [{"instruction": f"Say {n}", "input": "", "output": f"It is {n}."} for n in range(12)]


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        "tiny-qwen": make_tiny_base(root / "tiny-qwen", "qwen2", seed=1),
        "tiny-gpt": make_tiny_base(root / "tiny-gpt", "gpt2", seed=2),
    }


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "rows.json"
    file.write_text(json.dumps(ROWS))
    return file


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with running_suite(tmp_path_factory.mktemp("a suite") / "data dir") as running:
        yield running


@pytest.fixture(scope="session")
def trained(suite: RunningSuite, tiny_bases: dict[str, Path], rows_file: Path) -> RunningSuite:
    """The suite with both bases, and the adapter `parrot` on tiny-qwen."""
    for name, directory in tiny_bases.items():
        added = suite.tenon("base", "add", directory, "--name", name)
        assert added.returncode == 0, added.stderr
    ran = suite.tenon("train", "--base", "tiny-qwen", "--data", rows_file, "--name", "parrot", "--epochs", "10")
    assert ran.returncode == 0, ran.stderr
    return suite
