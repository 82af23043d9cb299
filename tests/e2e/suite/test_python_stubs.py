"""tenon-client: the stubs, installed alone, against a running suite."""

import asyncio
import json
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.postgres import PostgresServer
from tests.support.registry import registry_settings, running_registry
from tests.support.suite import RunningSuite

SCRIPT = Path(__file__).parent / "stubs" / "client.py"
TYPES = ("types-grpcio", "types-protobuf")


def pip(project_root: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project_root, timeout=170)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip(project_root, "wheel", "--no-deps", "-w", directory, "./protos")
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def python(project_root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but that wheel and what it asks for."""
    directory = tmp_path_factory.mktemp("alone") / "venv"
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin" / "python"
    pip(project_root, "--python", python, "install", "-c", "constraints.txt", wheel)
    return python


def run(python: Path, *arguments: str | Path) -> str:
    # Isolated: neither this directory nor PYTHONPATH.
    ran = subprocess.run(
        [str(python), "-I", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_wheel_holds_stubs_and_contracts_and_nothing_else(wheel: Path, project_root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    protos = project_root / "protos"
    contracts = {str(file.relative_to(protos)) for file in (protos / "tenon").rglob("*.proto")}
    stubs = {str(file.relative_to(protos / "gen")) for file in (protos / "gen").rglob("*_pb2*.py*")}
    stubs = {name for name in stubs if name.endswith((".py", ".pyi"))}
    assert len(contracts) * 4 == len(stubs)
    assert inside == contracts | stubs | {"tenon/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nothing_of_the_suite_comes_along(python: Path) -> None:
    script = (
        "import importlib.metadata as m, importlib.util as u, json;"
        "print(json.dumps([sorted(d.metadata['Name'] for d in m.distributions()),"
        "[n for n in ('torch', 'fastapi', 'pydantic', 'services', 'gateway', 'cli') if u.find_spec(n)]]))"
    )
    installed, importable = json.loads(run(python, "-c", script))
    assert set(installed) <= {"tenon-client", "googleapis-common-protos", "grpcio", "protobuf", "typing_extensions"}
    assert importable == []


def test_it_calls_a_running_suite_with_a_key(python: Path, trained: RunningSuite) -> None:
    answers = json.loads(run(python, SCRIPT, trained.endpoints["registry"], trained.key))
    assert {"baseModels/tiny-gpt", "baseModels/tiny-qwen"} <= set(answers["bases"])
    name, base = answers["parrot"]
    assert name.startswith("projects/default/adapters/parrot/versions/")
    assert base == "baseModels/tiny-qwen"
    assert answers["nobody"] == ["ERROR_REASON_ADAPTER_NOT_FOUND", "projects/default/adapters/nobody"]


async def test_it_speaks_tls(python: Path, postgres_server: PostgresServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    shown = authority.issue("registry")
    settings = registry_settings(postgres_server.create_database(), tmp_path / "artifacts").model_copy(
        update={"tls_certificate_file": shown.certificate, "tls_key_file": shown.key}
    )
    async with running_registry(settings) as server:
        ran = await asyncio.to_thread(run, python, SCRIPT, server.address, "unused", authority.file)
    assert json.loads(ran)["bases"] == []


def test_the_stubs_are_typed(python: Path, project_root: Path, tmp_path: Path) -> None:
    pip(project_root, "--python", python, "install", "-c", "constraints.txt", *TYPES)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(SCRIPT.read_text().replace("name=f", "nmae=f"))
    # As docs/clients.md says: Google's own messages have no types.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n[mypy-google.rpc.*]\nignore_missing_imports = True\n")
    command = [sys.executable, "-m", "mypy", f"--config-file={config}", f"--python-executable={python}"]
    for script, faults in ((SCRIPT, 0), (wrong, 1)):
        ran = subprocess.run(
            [*command, f"--cache-dir={tmp_path}", script], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert ran.stdout.count("error:") == faults, ran.stdout


def test_both_distributions_have_the_same_licence(project_root: Path) -> None:
    # A copy: a link would lead out of the sdist.
    assert (project_root / "protos" / "LICENSE").read_bytes() == (project_root / "LICENSE").read_bytes()


def test_both_distributions_go_together(project_root: Path) -> None:
    """The suite asks for the stubs of its own version."""
    suite, stubs = (
        tomllib.loads((project_root / place).read_text()) for place in ("pyproject.toml", "protos/pyproject.toml")
    )
    assert f"tenon-client=={stubs['project']['version']}" in suite["project"]["dependencies"]
    assert suite["project"]["version"] == stubs["project"]["version"]
    assert not any("protos" in package for package in suite["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
