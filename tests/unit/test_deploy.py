"""deploy/ against the code: settings, entry points, ports, extras, users."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.suite.options import UpSettings
from gateway.settings import GatewaySettings
from services.common.settings import CommonSettings
from services.inference.settings import InferenceSettings
from services.registry.settings import RegistrySettings
from services.trainer.settings import TrainerSettings, WorkerSettings

SETTINGS: dict[str, type[CommonSettings]] = {
    "registry": RegistrySettings,
    "trainer": TrainerSettings,
    "trainer-worker": WorkerSettings,
    "inference": InferenceSettings,
    "gateway": GatewaySettings,
}
NUMBERS = {"true": "1", "false": "0"}
PORTS = {"gateway": 8600, "registry": 8601, "trainer": 8602, "inference": 8603}


def variables(settings: type[CommonSettings]) -> set[str]:
    return {f"TENON_{name.upper()}" for name in settings.model_fields}


@pytest.fixture(scope="module")
def compose(project_root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((project_root / "deploy" / "compose.yaml").read_text())
    return loaded


def test_the_example_names_every_setting_and_no_other(project_root: Path) -> None:
    text = (project_root / "deploy" / "example.env").read_text()
    named = set(re.findall(r"^#?(TENON_[A-Z0-9_]+)=", text, flags=re.MULTILINE))
    every: list[type[CommonSettings]] = [*SETTINGS.values(), UpSettings]
    known = set().union(*map(variables, every))
    assert named == known


def test_the_example_shows_the_defaults(project_root: Path) -> None:
    text = (project_root / "deploy" / "example.env").read_text()
    shown: dict[str, str] = dict(re.findall(r"^#(TENON_[A-Z0-9_]+)=(.*)$", text, flags=re.MULTILINE))
    for settings in SETTINGS.values():
        for name, field in settings.model_fields.items():
            if isinstance(field.default, (bool, int, float)):
                value = shown[f"TENON_{name.upper()}"]
                assert float(NUMBERS.get(value, value)) == float(field.default), name


def test_the_example_holds_no_secret(project_root: Path) -> None:
    text = (project_root / "deploy" / "example.env").read_text()
    assert set(re.findall(r"^(?:POSTGRES_PASSWORD|TENON_S3_\w+_KEY)=(.*)$", text, flags=re.MULTILINE)) == {""}


@pytest.mark.parametrize("service", SETTINGS)
def test_compose_sets_only_what_the_service_reads_and_all_that_it_needs(compose: dict[str, Any], service: str) -> None:
    given = set(compose["services"][service]["environment"])
    known = variables(SETTINGS[service])
    needed = {f"TENON_{name.upper()}" for name, f in SETTINGS[service].model_fields.items() if f.is_required()}
    from_image = {"TENON_CACHE_DIR"}
    assert given <= known
    assert needed - from_image <= given


@pytest.mark.parametrize("service", SETTINGS)
def test_what_compose_sets_is_valid(compose: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose["services"][service]["environment"].items():
        monkeypatch.setenv(
            name, re.sub(r"\$\{[^}]*?(?::-([^}]*))?\}", lambda m: m[1] or "a secret of 32 characters or more", value)
        )
    monkeypatch.setenv("TENON_CACHE_DIR", "/var/lib/tenon/cache")
    assert SETTINGS[service].load().log_format == "json"


@pytest.mark.parametrize("service", PORTS)
def test_targets_and_ports_agree(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["environment"]["TENON_LISTEN"] == f"0.0.0.0:{PORTS[service]}"
    for other in compose["services"].values():
        target = other.get("environment", {}).get(f"TENON_{service.upper()}_TARGET")
        assert target in {None, f"{service}:{PORTS[service]}"}


def test_only_who_signs_sees_the_private_key_and_who_checks_the_public_ones(compose: dict[str, Any]) -> None:
    services = compose["services"]
    signing = {name for name, service in services.items() if "secrets" in service}
    trusting = {name for name, service in services.items() if any(":/keys:ro" in v for v in service.get("volumes", ()))}
    assert signing == {"trainer", "trainer-worker"}
    assert trusting == {"registry", "trainer", "inference"}
    for name, service in services.items():
        environment = service.get("environment", {})
        assert ("TENON_SIGNING_KEY_FILE" in environment) is (name in signing)
        assert ("TENON_TRUSTED_KEYS" in environment) is (name in trusting)
        assert "signing.pem" not in str(service)
    assert compose["secrets"].keys() == {"signing_key"}


def test_only_the_gateway_is_reachable_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8600:8600"]}


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_runs_an_entry_point_that_exists(project_root: Path, compose: dict[str, Any], service: str) -> None:
    build = compose["services"][service]["build"]
    lines = (project_root / build["dockerfile"]).read_text().splitlines()
    image = next(line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    command = compose["services"][service].get("command") or yaml.safe_load(image)
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(command[2]) is not None


@pytest.mark.parametrize("service", PORTS)
def test_an_image_is_small_and_not_root(project_root: Path, service: str) -> None:
    text = (project_root / "deploy" / "images" / f"{service}.Dockerfile").read_text()
    extras = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.findall(r"'\.\[(.+?)\]'", text) == [service]
    assert service in extras
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", text, flags=re.MULTILINE)
    assert f"EXPOSE {PORTS[service]}\n" in text
    assert f"TENON_LISTEN=0.0.0.0:{PORTS[service]}" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE):
        for path in source.split():
            assert (project_root / path).exists(), path


def test_the_collector_listens_where_the_services_send(project_root: Path, compose: dict[str, Any]) -> None:
    config = yaml.safe_load((project_root / "deploy" / "collector.yaml").read_text())
    port = config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    for service in SETTINGS:
        assert compose["services"][service]["environment"]["TENON_OTLP_ENDPOINT"] == f"http://collector:{port}"
