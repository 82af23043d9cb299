"""AdapterTransferService over gRPC: what goes in and comes out, every refusal, and nothing left behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, fingerprint_base
from services.common.manifest import AdapterManifest, Provenance
from services.common.probe import Probe
from services.common.rpc.channel import open_channel
from services.common.signing import SigningKey
from tenon.registry.v1 import adapter_pb2
from tenon.trainer.v1 import adapter_transfer_pb2 as transfer_pb2
from tenon.trainer.v1 import adapter_transfer_pb2_grpc as transfer_pb2_grpc
from tests.e2e.trainer.platform import PARENT, Platform, import_messages, serving, trainer_settings
from tests.support.keys import STRANGERS_KEY, TEST_KEY, TEST_TRUST, signed
from tests.unit.admission.build import Adapter, filled, put_manifest, seal
from tests.unit.identity.build import Base

BASE_MODEL = "baseModels/tiny"
DOCUMENTS = ("tenon.manifest.json", "tenon.manifest.dsse.json")
FILES = ("adapter_config.json", "adapter_model.safetensors")

Message = transfer_pb2.ImportAdapterRequest


@pytest.fixture(scope="module")
async def base(platform: Platform) -> BaseFingerprint:
    directory = Base().write(platform.root / "bases" / "llama")
    await platform.add_base("tiny", directory)
    return fingerprint_base(directory)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Adapter().write(tmp_path / "adapter")


async def resolved(platform: Platform, name: str) -> adapter_pb2.AdapterVersion:
    request = adapter_pb2.ResolveAdapterRequest(name=name)
    return (await platform.adapters.ResolveAdapter(request)).adapter_version


async def refused(work: Any) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await work
    return raised.value


def blobs(platform: Platform) -> set[Path]:
    return {path for path in (platform.root / "artifacts").rglob("*") if path.is_file()}


async def left_nothing(platform: Platform, before: set[Path], adapter: str = "refused") -> None:
    assert list(platform.uploads.iterdir()) == []
    assert blobs(platform) == before
    unknown = adapter_pb2.GetAdapterRequest(name=f"{PARENT}/adapters/{adapter}")
    assert (await refused(platform.adapters.GetAdapter(unknown))).reason is Reason.ADAPTER_NOT_FOUND


async def test_an_adapter_without_a_manifest_is_declared_and_signed(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    (directory / "README.md").write_text("# mine")
    name = await platform.take(import_messages(directory))
    version = await resolved(platform, f"{PARENT}/adapters/imported")
    assert (version.name, version.provenance) == (name, adapter_pb2.PROVENANCE_DECLARED)
    assert TEST_TRUST.verify(version.envelope, version.manifest) == TEST_KEY.public.key_id
    manifest = AdapterManifest.from_bytes(version.manifest)
    assert (manifest.base_model, manifest.base_fingerprint_id) == (BASE_MODEL, base.id)
    assert (manifest.chat_template, manifest.probe, manifest.training) == ("{{ messages }}", None, {})
    assert tuple(file.path for file in manifest.files) == FILES
    assert list(platform.uploads.iterdir()) == []


async def test_the_same_directory_twice_is_the_same_version(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    names = [await platform.take(import_messages(directory, "twice")) for _ in range(2)]
    at_once = await asyncio.gather(*(platform.take(import_messages(directory, "twice")) for _ in range(4)))
    assert {*names, *at_once} == {names[0]}
    assert names[0].rpartition("/")[2] == seal(directory, base).digest


async def test_what_is_exported_and_imported_elsewhere_is_the_same_version_of_the_same_provenance(
    platform: Platform, base: BaseFingerprint, directory: Path, tmp_path: Path
) -> None:
    manifest = replace(
        seal(directory, base),
        provenance=Provenance.WITNESSED,
        training={"job": f"{PARENT}/trainingJobs/a"},
        probe=Probe((1,), (2,), (0.5,), (1.5,)),
    )
    put_manifest(directory, manifest)
    first = await platform.take(import_messages(directory, "first"))
    out = tmp_path / "out"
    out.mkdir()
    for file in (*FILES, *DOCUMENTS):
        (out / file).write_bytes(await platform.read_file(first, file))
        assert (out / file).read_bytes() == (directory / file).read_bytes()
    second = await platform.take(import_messages(out, "second", parent="projects/elsewhere"))
    assert second == f"projects/elsewhere/adapters/second/versions/{first.rpartition('/')[2]}"
    assert (await resolved(platform, second)).provenance == adapter_pb2.PROVENANCE_WITNESSED


def without(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


def cut(directory: Path) -> None:
    weights = directory / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def rebuilt(adapter: Adapter) -> Callable[[Path], object]:
    return adapter.write


FOREIGN = {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": filled((2, 8))}
NAN = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": filled((2, 8), float("nan"))}
ZERO = {name: (kind, shape, bytes(len(data))) for name, (kind, shape, data) in Adapter().tensors.items()}
BAD: dict[str, tuple[Callable[[Path], object], Reason]] = {
    "a pickle": (written("adapter_model.bin", b"\x80\x04."), Reason.ADAPTER_UNSAFE_FILES),
    "a pickle renamed": (
        written("adapter_model.safetensors", b"\x80\x02}q\x00X\x04\x00."),
        Reason.ADAPTER_UNSAFE_FILES,
    ),
    "no weights": (without("adapter_model.safetensors"), Reason.ADAPTER_FILES_MISSING),
    "no configuration": (without("adapter_config.json"), Reason.ADAPTER_FILES_MISSING),
    "cut off": (cut, Reason.SAFETENSORS_INVALID),
    "no JSON": (written("adapter_config.json", b"{"), Reason.ADAPTER_CONFIG_INVALID),
    "not served": (rebuilt(Adapter().configured(bias="all")), Reason.ADAPTER_NOT_SUPPORTED),
    "a layer too many": (rebuilt(Adapter().with_tensors(FOREIGN)), Reason.ADAPTER_MODULE_NOT_FOUND),
    "unpaired": (rebuilt(Adapter().without("0.self_attn.q_proj.lora_B.weight")), Reason.ADAPTER_TENSOR_MISSING),
    "not finite": (rebuilt(Adapter().with_tensors(NAN)), Reason.ADAPTER_NOT_FINITE),
    "no effect": (rebuilt(Adapter().with_tensors(ZERO)), Reason.ADAPTER_NO_EFFECT),
    "a manifest that is none": (written(DOCUMENTS[0], b"{}"), Reason.MANIFEST_INVALID),
    "no text": (written("chat_template.jinja", b"\xff"), Reason.ADAPTER_CONFIG_INVALID),
}


@pytest.mark.parametrize(("spoil", "reason"), BAD.values(), ids=BAD.keys())
async def test_what_speaks_against_an_adapter_is_told_and_nothing_is_published(
    platform: Platform,
    base: BaseFingerprint,
    directory: Path,
    spoil: Callable[[Path], object],
    reason: Reason,
) -> None:
    before = blobs(platform)
    spoil(directory)
    error = await refused(platform.take(import_messages(directory, "refused")))
    assert error.reason is reason, error.message
    assert str(platform.root) not in error.message
    await left_nothing(platform, before)


SEALED: dict[str, tuple[SigningKey | None, Callable[[Path], object], Reason]] = {
    "not signed": (TEST_KEY, without(DOCUMENTS[1]), Reason.SIGNATURE_MISSING),
    "signed by a stranger": (STRANGERS_KEY, lambda _: None, Reason.SIGNATURE_UNTRUSTED),
    "altered weights": (TEST_KEY, rebuilt(Adapter().with_tensors(NAN)), Reason.ARTIFACT_CORRUPT),
    "altered configuration": (TEST_KEY, rebuilt(Adapter().configured(lora_alpha=9)), Reason.ARTIFACT_CORRUPT),
}


@pytest.mark.parametrize(("key", "spoil", "reason"), SEALED.values(), ids=SEALED.keys())
async def test_a_manifest_that_comes_along_is_held_against_everything(
    platform: Platform,
    base: BaseFingerprint,
    directory: Path,
    key: SigningKey,
    spoil: Callable[[Path], object],
    reason: Reason,
) -> None:
    before = blobs(platform)
    seal(directory, base, key)
    spoil(directory)
    error = await refused(platform.take(import_messages(directory, "refused")))
    assert error.reason is reason, error.message
    await left_nothing(platform, before)


async def test_another_base_is_refused_with_both_names(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    other = Base().configured(rms_norm_eps=0.5).write(platform.root / "bases" / "other")
    await platform.add_base("other", other)
    before = blobs(platform)
    seal(directory, base)
    error = await refused(platform.take(import_messages(directory, "refused", base_model="baseModels/other")))
    assert error.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert {"verdict", "expected_id", "actual_id"} <= error.metadata.keys()
    assert "baseModels/tiny" in error.message
    assert "baseModels/other" in error.message
    assert "rms_norm_eps" in error.message
    await left_nothing(platform, before)


async def test_a_base_may_have_another_name_elsewhere(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    put_manifest(directory, replace(seal(directory, base), base_model="baseModels/their-name"))
    assert await platform.take(import_messages(directory, "renamed"))


def start(**changes: str) -> Message:
    return Message(
        start=transfer_pb2.ImportStart(
            **{"parent": PARENT, "adapter_id": "refused", "base_model": BASE_MODEL, **changes}
        )
    )


def file(path: str) -> Message:
    return Message(file=transfer_pb2.FileStart(path=path))


STREAMS: dict[str, tuple[list[Message], Reason]] = {
    "nothing": ([], Reason.INVALID_ARGUMENT),
    "no start": ([file("adapter_config.json")], Reason.INVALID_ARGUMENT),
    "two starts": ([start(), start()], Reason.INVALID_ARGUMENT),
    "an empty message": ([start(), Message()], Reason.INVALID_ARGUMENT),
    "no files": ([start()], Reason.ADAPTER_FILES_MISSING),
    "bytes of no file": ([start(), Message(chunk=b"x")], Reason.INVALID_ARGUMENT),
    "twice": ([start(), file("a.json"), file("a.json")], Reason.INVALID_ARGUMENT),
    "upwards": ([start(), file("../adapter_config.json")], Reason.INVALID_ARGUMENT),
    "absolute": ([start(), file("/etc/passwd")], Reason.INVALID_ARGUMENT),
    "hidden": ([start(), file(".bashrc")], Reason.INVALID_ARGUMENT),
    "zero byte": ([start(), file("a\0b")], Reason.INVALID_ARGUMENT),
    "long": ([start(), file("a" * 129)], Reason.INVALID_ARGUMENT),
    "no name": ([start(), file("")], Reason.INVALID_ARGUMENT),
    "a large chunk": ([start(), file("a.safetensors"), Message(chunk=bytes(4 * 2**20 + 1))], Reason.INVALID_ARGUMENT),
    "a large document": ([start(), file("a.json"), Message(chunk=bytes(2 * 2**20 + 1))], Reason.LIMIT_EXCEEDED),
    "large": ([start(), file("a.safetensors"), *[Message(chunk=bytes(2**20 + 1))] * 4], Reason.LIMIT_EXCEEDED),
    "many": ([start(), *(file(f"{n}.json") for n in range(257))], Reason.LIMIT_EXCEEDED),
    "no such base": ([start(base_model="baseModels/none"), file("a.json")], Reason.BASE_MODEL_NOT_FOUND),
    "no base": ([start(base_model="tiny")], Reason.INVALID_ARGUMENT),
    "no id": ([start(adapter_id="../x")], Reason.INVALID_ARGUMENT),
    "no project": ([start(parent="projects/../x")], Reason.INVALID_ARGUMENT),
}


@pytest.mark.parametrize(("messages", "reason"), STREAMS.values(), ids=STREAMS.keys())
async def test_a_stream_out_of_order_is_refused(
    platform: Platform, base: BaseFingerprint, messages: list[Message], reason: Reason
) -> None:
    async def sent() -> AsyncIterator[Message]:
        for message in messages:
            yield message

    before = blobs(platform)
    assert (await refused(platform.take(sent()))).reason is reason
    await left_nothing(platform, before)


async def half(directory: Path, reached: asyncio.Event) -> AsyncIterator[Message]:
    """Some of an adapter, and then no end."""
    async with aclosing(import_messages(directory, "refused")) as messages:
        for _ in range(3):
            yield await anext(messages)
    reached.set()
    await asyncio.Event().wait()


async def emptied(directory: Path) -> None:
    async with asyncio.timeout(10):
        while list(directory.iterdir()):
            await asyncio.sleep(0.02)


async def test_a_client_that_goes_away_or_is_too_slow_leaves_nothing(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    before, reached = blobs(platform), asyncio.Event()
    taking = asyncio.create_task(platform.take(half(directory, reached)))
    await reached.wait()
    async with asyncio.timeout(10):
        while not list(platform.uploads.iterdir()):
            await asyncio.sleep(0.02)
    taking.cancel()
    await asyncio.wait({taking})
    await emptied(platform.uploads)
    with pytest.raises(DomainError) as raised:
        await platform.transfers.ImportAdapter(half(directory, asyncio.Event()), timeout=0.5)
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    await emptied(platform.uploads)
    await left_nothing(platform, before)


async def test_without_store_or_registry_it_is_unavailable_and_works_once_they_are_back(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    artifacts, away = platform.root / "artifacts", platform.root / "away"
    before = blobs(platform)
    artifacts.rename(away)
    try:
        error = await refused(platform.take(import_messages(directory, "refused")))
    finally:
        away.rename(artifacts)
    assert (error.reason, bool(error.retry_after)) == (Reason.ARTIFACT_STORE_UNAVAILABLE, True)
    await left_nothing(platform, before)
    settings = trainer_settings(platform.postgres.url(), platform.root, "127.0.0.1:9")
    async with serving(settings) as address, open_channel(address) as channel:
        alone = transfer_pb2_grpc.AdapterTransferServiceStub(channel)
        error = await refused(alone.ImportAdapter(import_messages(directory, "refused")))
    assert (error.reason, bool(error.retry_after)) == (Reason.SERVICE_UNAVAILABLE, True)
    await left_nothing(platform, before)
    assert await platform.take(import_messages(directory, "back"))


async def test_a_server_that_stops_leaves_nothing(platform: Platform, base: BaseFingerprint, directory: Path) -> None:
    before, reached = blobs(platform), asyncio.Event()
    settings = trainer_settings(platform.postgres.url(), platform.root, platform.registry_address)
    async with serving(settings) as address, aio.insecure_channel(address) as channel:
        call = transfer_pb2_grpc.AdapterTransferServiceStub(channel).ImportAdapter(half(directory, reached))
        await reached.wait()
        async with asyncio.timeout(10):
            while not list(platform.uploads.iterdir()):
                await asyncio.sleep(0.02)
    async with asyncio.timeout(
        10
    ):  # the call that was cut off clears up in a thread, for which a process waits at its end
        while list(platform.uploads.iterdir()):
            await asyncio.sleep(0.02)
    await left_nothing(platform, before)
    assert await call.code() is not None


async def test_a_file_that_a_version_does_not_have_is_not_found(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    version = await platform.take(import_messages(directory, "read"))
    for path in ("README.md", "../read", ""):
        error = await refused(platform.read_file(version, path))
        assert error.reason is Reason.ARTIFACT_NOT_FOUND
        assert "adapter_config.json" in error.message
    missing = version[:-1] + ("0" if version[-1] != "0" else "1")
    assert (await refused(platform.read_file(missing, FILES[0]))).reason is Reason.ADAPTER_VERSION_NOT_FOUND
    error = await refused(platform.read_file(version.replace("/read/", "/none/"), FILES[0]))
    assert error.reason is Reason.ADAPTER_NOT_FOUND
    assert (await refused(platform.read_file("x", FILES[0]))).reason is Reason.INVALID_ARGUMENT


async def test_a_version_that_is_not_ready_or_was_withdrawn_is_not_given_out(
    platform: Platform, base: BaseFingerprint, directory: Path
) -> None:
    version = await platform.take(import_messages(directory, "withdrawn"))
    pending = replace(seal(directory, base), stop_token_ids=(3,))
    await platform.adapters.CreateAdapterVersion(
        adapter_pb2.CreateAdapterVersionRequest(
            parent=f"{PARENT}/adapters/withdrawn", manifest=pending.to_bytes(), envelope=signed(pending)
        )
    )
    unfinished = f"{PARENT}/adapters/withdrawn/versions/{pending.digest}"
    assert (await refused(platform.read_file(unfinished, FILES[0]))).reason is Reason.ADAPTER_VERSION_NOT_READY
    await platform.adapters.RevokeAdapterVersion(adapter_pb2.RevokeAdapterVersionRequest(name=version, reason="leaked"))
    for path in (FILES[0], DOCUMENTS[0]):
        assert (await refused(platform.read_file(version, path))).reason is Reason.ADAPTER_VERSION_REVOKED
    for parts in (import_messages(directory, "withdrawn"),):
        for document in DOCUMENTS:
            (directory / document).unlink()
        assert (await refused(platform.take(parts))).reason is Reason.ADAPTER_VERSION_REVOKED


@pytest.mark.parametrize("damage", ["changed", "removed"])
async def test_damaged_bytes_are_not_passed_off_as_the_adapter(
    platform: Platform, base: BaseFingerprint, directory: Path, damage: str
) -> None:
    config = json.loads((directory / FILES[0]).read_text())
    (directory / FILES[0]).write_text(json.dumps({**config, "revision": damage}))
    version = await platform.take(import_messages(directory, damage))
    sha256 = next(f.sha256 for f in (await resolved(platform, version)).files if f.path == FILES[0])
    blob = platform.root / "artifacts/projects/default/blobs/sha256" / sha256[:2] / sha256
    blob.chmod(0o600)
    if damage == "changed":
        blob.write_bytes(blob.read_bytes()[::-1])
    else:
        blob.unlink()
    error = await refused(platform.read_file(version, FILES[0]))
    assert error.reason is {"changed": Reason.ARTIFACT_CORRUPT, "removed": Reason.ADAPTER_FILES_MISSING}[damage]
