"""The order of admission, and what is left when a step fails."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from services.common.admission.config import summarize
from services.common.admission.listed import list_files
from services.common.admission.seal import make_declared
from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, fingerprint_base
from services.common.manifest import AdapterManifest, Provenance
from services.common.probe import Probe
from services.common.resource_names import AdapterVersionName
from services.common.signing import TrustStore
from services.inference.adapter_files import AdapterFiles
from services.inference.adapters import AdapterPool
from services.inference.admission import Admission
from services.inference.blocking import Blocking
from services.inference.model import AdapterVersion, RegisteredBase
from services.inference.policy import AdmissionPolicy
from tests.support.keys import signed, trusted_key_file
from tests.unit.admission.build import BASE_MODEL, BASE_TENSORS, Adapter
from tests.unit.identity.build import Base
from tests.unit.inference.engine import FakeEngine, unread_metrics

PROBE = Probe((1, 2), (0, 1), (1.0, 2.0), (2.0, 1.0))
MET = (1.0, 2.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseFingerprint:
    return fingerprint_base(Base(tensors=BASE_TENSORS).write(tmp_path_factory.mktemp("base") / "llama"), threads=1)


class Place:
    """Adapters are published here, and admitted to an engine."""

    def __init__(self, directory: Path, base: BaseFingerprint) -> None:
        self._directory = directory
        self._base = base
        self._store = FileSystemStore.open(directory / "artifacts")
        self._blocking = Blocking(1)
        self._files = AdapterFiles(
            self._store, directory / "cache", unread_metrics(), max_file_bytes=2**20, max_total_bytes=2**20
        )

    def publish(self, adapter: Adapter, **changes: Any) -> AdapterVersion:
        """Store an adapter under a manifest that fits it, but for the changes."""
        sound = make_declared(Adapter().write(self._directory / "sound"), self._base, BASE_MODEL)
        directory = adapter.write(self._directory / "adapter")
        for file in directory.iterdir():
            self._store.put_file("default", file)
        fitting = {"files": list_files(directory), "peft": summarize(adapter.config)}
        return version_of(replace(sound, **{**fitting, **changes}))

    def admission(self, engine: FakeEngine, base: BaseFingerprint | None = None) -> Admission:
        fingerprint = base or self._base
        policy = AdmissionPolicy(
            TrustStore.open((trusted_key_file(self._directory),)), admit=Provenance.DECLARED, allow_derivatives=False
        )
        registered = RegisteredBase(BASE_MODEL, fingerprint, ())
        return Admission(engine, registered, fingerprint, self._files, policy=policy, blocking=self._blocking)

    def fetched(self) -> list[Path]:
        """Files that were copied from the store."""
        return [path for path in (self._directory / "cache").rglob("*") if path.is_file()]

    def close(self) -> None:
        self._blocking.close()


def version_of(manifest: AdapterManifest) -> AdapterVersion:
    data = manifest.to_bytes()
    name = AdapterVersionName("default", "tiny", hashlib.sha256(data).hexdigest())
    return AdapterVersion(name, manifest, data, signed(manifest))


@pytest.fixture
def place(tmp_path: Path, base: BaseFingerprint) -> Iterator[Place]:
    place = Place(tmp_path, base)
    yield place
    place.close()


async def reserve(_size: int) -> None:
    """There is room for everything."""


async def refusal(place: Place, version: AdapterVersion, engine: FakeEngine) -> DomainError:
    """The error of a load, after which nothing is attached."""
    with pytest.raises(DomainError) as caught:
        await place.admission(engine).admit(version, reserve)
    assert engine.attached == []
    return caught.value


async def test_adapter_that_passes_every_step_is_attached(place: Place) -> None:
    version = place.publish(Adapter(), probe=PROBE)
    engine = FakeEngine({None: MET, version.name.version: PROBE.adapter_logits})
    attached = await place.admission(engine).admit(version, reserve)
    assert attached.applied_tensors == 8
    assert engine.attached == [version.name.version]
    assert engine.asked == [(1, 2), (1, 2)]


async def test_declared_adapter_without_a_probe_must_change_something_and_a_witnessed_one_is_refused(
    place: Place,
) -> None:
    version = place.publish(Adapter())
    await place.admission(FakeEngine({None: (1.0,), version.name.version: (2.0,)})).admit(version, reserve)
    idle = FakeEngine({None: (1.0,), version.name.version: (1.0,)})
    assert (await refusal(place, version, idle)).reason is Reason.ADAPTER_NO_EFFECT
    assert idle.attached == []
    version = place.publish(Adapter(), provenance=Provenance.WITNESSED)
    assert (await refusal(place, version, FakeEngine())).reason is Reason.PROBE_MISMATCH


FAULTS: Final[Mapping[str, tuple[Adapter, dict[str, Any], Reason]]] = {
    "manifest's base": (Adapter(), {"base": {"id": "0" * 64}}, Reason.MANIFEST_INVALID),
    "files": (Adapter(), {"files": ()}, Reason.ADAPTER_FILES_MISSING),
    "configuration": (Adapter().configured(use_qalora=True), {}, Reason.ADAPTER_NOT_SUPPORTED),
    "configuration and manifest": (Adapter(), {"peft": {"r": 5}}, Reason.ADAPTER_CONFIG_MISMATCH),
    "tensors": (Adapter().configured(r=3), {}, Reason.ADAPTER_SHAPE_MISMATCH),
    "values": (Adapter().configured(lora_alpha=0), {}, Reason.ADAPTER_NO_EFFECT),
    "probe": (Adapter(), {"probe": PROBE}, Reason.PROBE_MISMATCH),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_step_that_fails_leaves_nothing_attached(fault: str, place: Place) -> None:
    adapter, changes, reason = FAULTS[fault]
    version = place.publish(adapter, **changes)
    engine = FakeEngine({None: MET, version.name.version: (2.0, 1.5)})
    assert (await refusal(place, version, engine)).reason is reason


async def test_another_base_than_the_manifests_is_refused_before_a_byte_is_read(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    version = place.publish(Adapter())
    other = fingerprint_base(Base().write(tmp_path_factory.mktemp("other") / "llama"), threads=1)
    with pytest.raises(DomainError) as caught:
        await place.admission(FakeEngine(), other).admit(version, reserve)
    assert caught.value.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert caught.value.metadata["verdict"] == "WEIGHTS_DIFFER"
    assert place.fetched() == []


async def test_configuration_that_is_too_large_is_not_fetched(place: Place) -> None:
    version = place.publish(Adapter())
    files = [replace(file, size=2**30) if file.header_sha256 is None else file for file in version.manifest.files]
    error = await refusal(place, version_of(replace(version.manifest, files=tuple(files))), FakeEngine())
    assert error.reason is Reason.LIMIT_EXCEEDED
    assert place.fetched() == []


async def test_tensors_that_are_not_applied_are_a_refusal(place: Place) -> None:
    version = place.publish(Adapter())
    error = await refusal(place, version, FakeEngine(lost=1))
    assert error.reason is Reason.ADAPTER_INVALID
    assert "7 of the adapter's 8" in error.message


async def test_load_that_is_cancelled_while_it_is_probed_leaves_nothing_attached(place: Place) -> None:
    version = place.publish(Adapter(), probe=PROBE)
    engine = NeverAnswers()
    load = asyncio.create_task(place.admission(engine).admit(version, reserve))
    await engine.reached.wait()
    assert engine.attached == [version.name.version]
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert engine.attached == []


async def test_adapter_is_seen_by_nobody_until_its_probe_is_met(place: Place) -> None:
    version = place.publish(Adapter(), probe=PROBE)
    engine = NeverAnswers()
    pool = AdapterPool(engine, place.admission(engine), unread_metrics(), budget_bytes=2**20)
    request = asyncio.create_task(use(pool, version))
    await engine.reached.wait()
    assert pool.loaded() == []
    assert not request.done()
    await pool.close()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert engine.attached == []


async def use(pool: AdapterPool, version: AdapterVersion) -> None:
    async with pool.lease(version):
        pass


class NeverAnswers(FakeEngine):
    """An engine whose queue never gets to the probe."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def next_token_logits(self, token_ids: Sequence[int], adapter: str | None) -> torch.Tensor:
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError
