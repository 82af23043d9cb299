import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from cli.suite.data_directory import DataDirectory, open_data_directory
from cli.suite.keys import SuiteKeys
from cli.suite.ports import Address
from cli.suite.process import ProcessSpec
from cli.suite.services import SIGNING_VARIABLE, TRUST_VARIABLE, Addresses, addresses, service_processes
from services.common.settings import (
    ArtifactSettings,
    BaseFilesSettings,
    DatabaseSettings,
    RegistryClientSettings,
    TrustSettings,
)

SECRET = "postgresql://tenon:hunter2@127.0.0.1:1/tenon"


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return open_data_directory(tmp_path / "data of mine, 100 %")


@pytest.fixture
def at() -> Addresses:
    return addresses(Address("127.0.0.1", 8600), (1, 2, 3))


@pytest.fixture
def keys(directory: DataDirectory) -> SuiteKeys:
    return SuiteKeys(directory.signing_key, (directory.trusted_keys,), directory.admin_key)


def test_every_service_is_there_and_no_secret_on_a_command_line(
    directory: DataDirectory, at: Addresses, keys: SuiteKeys
) -> None:
    specs = service_processes(directory, at, SECRET, keys)
    assert [(spec.name, spec.argv[-1]) for spec in specs] == [
        ("registry", "services.registry"),
        ("trainer", "services.trainer"),
        ("trainer-worker", "services.trainer.worker"),
        ("inference", "services.inference"),
        ("gateway", "gateway"),
    ]
    assert "hunter2" not in repr(specs)
    assert not [word for spec in specs for word in spec.argv if "hunter2" in word]
    assert [spec.env.get("TENON_LISTEN") for spec in specs if spec.name != "trainer-worker"] == [
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:3",
        "127.0.0.1:8600",
    ]


def test_the_settings_are_what_the_services_read(
    directory: DataDirectory, at: Addresses, keys: SuiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service_processes(directory, at, SECRET, keys)[0].env.items():
        if name.startswith("TENON_"):
            monkeypatch.setenv(name, value)
    url = ArtifactSettings.load().artifacts_url
    assert url2pathname(urlsplit(url).path) == str(directory.artifacts)
    assert BaseFilesSettings.load().base_roots == (Path("/"),)
    assert BaseFilesSettings.load().cache_dir == directory.cache
    assert DatabaseSettings.load().database_url.get_secret_value() == SECRET
    assert RegistryClientSettings.load().registry_target == "127.0.0.1:1"
    assert TrustSettings.load().trusted_keys == (directory.trusted_keys,)


def test_only_who_signs_knows_the_private_keys_file(
    directory: DataDirectory, at: Addresses, keys: SuiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (SIGNING_VARIABLE, TRUST_VARIABLE):
        monkeypatch.setenv(variable, "/of/the/person")
    specs = service_processes(directory, at, SECRET, keys)
    assert {spec.name: spec.env[SIGNING_VARIABLE] for spec in specs if SIGNING_VARIABLE in spec.env} == {
        "trainer": str(directory.signing_key),
        "trainer-worker": str(directory.signing_key),
    }
    assert {spec.name: json.loads(spec.env[TRUST_VARIABLE]) for spec in specs if TRUST_VARIABLE in spec.env} == {
        name: [str(directory.trusted_keys)] for name in ("registry", "trainer", "inference")
    }


@pytest.fixture
def worker(directory: DataDirectory, at: Addresses, keys: SuiteKeys) -> ProcessSpec:
    """The worker, whose last run has left its sign of readiness behind."""
    (worker,) = [spec for spec in service_processes(directory, at, SECRET, keys) if spec.name == "trainer-worker"]
    Path(worker.env["TENON_READY_FILE"]).touch()
    return worker


async def test_the_workers_readiness_is_forgotten_before_it_starts(worker: ProcessSpec) -> None:
    assert await worker.ready()
    await worker.prepare()
    assert not await worker.ready()


def test_endpoints_are_json(at: Addresses) -> None:
    assert json.loads(json.dumps(at.as_endpoints())) == {
        "gateway": "http://127.0.0.1:8600",
        "registry": "127.0.0.1:1",
        "trainer": "127.0.0.1:2",
        "inference": "127.0.0.1:3",
    }
