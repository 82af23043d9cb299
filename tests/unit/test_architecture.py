"""The import graph, as docs/architecture.md draws it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command_line import COMMANDS

SERVICES = ("registry", "trainer", "inference")


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imports_below(directory: Path) -> list[tuple[Path, str]]:
    return [(file, name) for file in sorted(directory.rglob("*.py")) for name in imports_of(file)]


def belongs(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("service", SERVICES)
def test_services_do_not_import_one_another(project_root: Path, service: str) -> None:
    others = [f"services.{other}" for other in SERVICES if other != service]
    found = imports_below(project_root / "services" / service)
    assert found, "no imports were read: the test looks in the wrong place"
    assert [(f, n) for f, n in found if belongs(n, *others, "gateway", "cli", "examples", "tests")] == []


def test_common_imports_no_service(project_root: Path) -> None:
    found = imports_below(project_root / "services" / "common")
    unwanted = [f"services.{service}" for service in SERVICES] + ["gateway", "cli", "examples", "tests"]
    assert [(f, n) for f, n in found if belongs(n, *unwanted)] == []


@pytest.mark.parametrize("front", ["gateway", "cli"])
def test_gateway_and_cli_know_the_services_by_their_contracts_only(project_root: Path, front: str) -> None:
    found = imports_below(project_root / front)
    unwanted = [f"services.{service}" for service in SERVICES] + ["tests", "examples"]
    assert [(f, n) for f, n in found if belongs(n, *unwanted)] == []


def test_only_registry_and_trainer_talk_to_postgres(project_root: Path) -> None:
    for part in ("services/inference", "gateway"):
        found = imports_below(project_root / part)
        assert [(f, n) for f, n in found if belongs(n, "psycopg", "services.common.db")] == []


def test_servicers_hold_no_sql_and_catch_nothing(project_root: Path) -> None:
    servicers = sorted((project_root / "services").glob("*/**/*servicer*.py"))
    assert len(servicers) >= len(SERVICES)
    for file in servicers:
        tree = ast.parse(file.read_text())
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Try)], file
        assert not [name for name in imports_of(file) if belongs(name, "psycopg")], file


LIGHT = {
    "registry": ["services.registry.__main__"],
    "trainer": ["services.trainer.__main__"],
    "worker": ["services.trainer.worker.__main__"],
    "gateway": ["gateway.__main__"],
    "cli": ["cli.__main__", "cli.command_line", *COMMANDS.values()],
}


@pytest.mark.parametrize("program", LIGHT)
def test_it_starts_without_torch(project_root: Path, program: str) -> None:
    modules = ", ".join(LIGHT[program])
    script = f"import sys, {modules}; print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    paths = [str(project_root), str(project_root / "protos" / "gen")]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
