"""Publication against a real registry and a real store, which come and go."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from services.common.admission.listed import list_files
from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterName, AdapterVersionName
from services.common.rpc.channel import open_channel
from services.registry import convert as registry_convert
from services.trainer.jobs import rules
from services.trainer.recipe.protocol import Event, RecipeTask
from services.trainer.storage.memory import MemoryStore
from services.trainer.support.retry import Persistence, T, Tell
from services.trainer.transfer.publish import Publisher
from services.trainer.worker.attempt import Attempts, CheckpointPolicy
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc, base_model_pb2, base_model_pb2_grpc
from tests.support.keys import TEST_KEY, signed
from tests.support.postgres import PostgresServer
from tests.support.registry import fingerprint, manifest, registry_settings, running_registry
from tests.unit.trainer.stores import claimed

ADAPTER = AdapterName("default", "late")
PROVENANCE = {"job": "projects/default/trainingJobs/one", "steps": 7, "final_loss": 0.5, "trained_tokens": 70}


def adapter_directory(root: Path) -> Path:
    """A PEFT directory of one tensor, and something beside it that must not be published."""
    root.mkdir()
    (root / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1}))
    header = json.dumps({"q.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (root / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80\x3f")
    (root / "optimizer.pt").write_bytes(b"pickle")
    return root


@asynccontextmanager
async def registry(postgres: PostgresServer, artifacts: Path, port: int) -> AsyncIterator[None]:
    settings = registry_settings(postgres.url(), artifacts).model_copy(update={"listen": f"127.0.0.1:{port}"})
    async with running_registry(settings):
        yield


async def add_base(stub: "base_model_pb2_grpc.BaseModelServiceAsyncStub") -> None:
    known = fingerprint()
    model = base_model_pb2.BaseModel(
        fingerprint=registry_convert.fingerprint(known, known.to_document()), sources=["file:///bases/tiny"]
    )
    await stub.CreateBaseModel(base_model_pb2.CreateBaseModelRequest(base_model_id="tiny", base_model=model))


async def test_outages_of_store_and_registry_delay_a_version_but_do_not_lose_it(
    stoppable_postgres: PostgresServer, tmp_path: Path
) -> None:
    artifacts, port, told = tmp_path / "artifacts", free_port(), []

    async def tell(error: DomainError) -> None:
        told.append(error.reason)

    store = FileSystemStore.open(artifacts)
    files = list_files(adapter_directory(tmp_path / "output"))
    made = manifest(files)
    async with open_channel(f"127.0.0.1:{port}") as channel:
        publisher = Publisher(store, adapter_pb2_grpc.AdapterServiceStub(channel), MemoryStore().blobs)
        async with registry(stoppable_postgres, artifacts, port):
            await add_base(base_model_pb2_grpc.BaseModelServiceStub(channel))
        artifacts.rename(tmp_path / "away")
        uploading = asyncio.create_task(publisher.upload("default", made, tmp_path / "output", tell))
        await eventually(told, Reason.ARTIFACT_STORE_UNAVAILABLE)
        (tmp_path / "away").rename(artifacts)
        await uploading

        registering = asyncio.create_task(publisher.register(ADAPTER, made, signed(made), tell))
        await eventually(told, Reason.SERVICE_UNAVAILABLE)
        async with registry(stoppable_postgres, artifacts, port):
            version = await registering
            # A worker that takes over does it all again, and nothing changes.
            assert await publisher.register(ADAPTER, made, signed(made), tell) == version
            stub = adapter_pb2_grpc.AdapterServiceStub(channel)
            resolved = await stub.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=str(ADAPTER)))
            listed = await stub.ListAdapterVersions(adapter_pb2.ListAdapterVersionsRequest(parent=str(ADAPTER)))
    assert resolved.adapter_version.name == str(version)
    assert version.version == made.digest
    assert len(listed.adapter_versions) == 1
    assert [file.path for file in resolved.adapter_version.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


async def test_files_that_changed_meanwhile_are_not_published(tmp_path: Path) -> None:
    async def tell(error: DomainError) -> None:
        raise AssertionError(error)

    directory = adapter_directory(tmp_path / "output")
    made = manifest(list_files(directory))
    (directory / "adapter_config.json").write_text("{}")
    async with open_channel("127.0.0.1:9") as channel:
        publisher = Publisher(
            FileSystemStore.open(tmp_path / "a"), adapter_pb2_grpc.AdapterServiceStub(channel), MemoryStore().blobs
        )
        with pytest.raises(DomainError) as raised:
            await publisher.upload("default", made, directory, tell)
    assert raised.value.reason is Reason.ARTIFACT_CORRUPT


class NoTraining:
    """An executor that must not be asked."""

    def run(self, task: RecipeTask, directory: Path) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        raise AssertionError("It was trained again.")


async def test_a_result_that_is_stored_already_is_published_by_the_next_worker_as_it_is(
    stoppable_postgres: PostgresServer, tmp_path: Path
) -> None:
    store, artifacts = MemoryStore(), FileSystemStore.open(tmp_path / "artifacts")
    queue, first = await claimed(store)
    made = replace(manifest(list_files(adapter_directory(tmp_path / "output"))), training=PROVENANCE)
    for file in made.files:
        artifacts.put_file("default", tmp_path / "output" / file.path)
    await queue.keep_manifest(first.lease, made.to_bytes())
    await store.jobs.change(first.lease.name, rules.lose(3))
    second = await queue.claim("second")
    assert second is not None

    port = free_port()
    async with registry(stoppable_postgres, tmp_path / "artifacts", port), open_channel(f"127.0.0.1:{port}") as channel:
        await add_base(base_model_pb2_grpc.BaseModelServiceStub(channel))
        attempts = Attempts(
            queue=queue,
            artifacts=artifacts,
            base_models=base_model_pb2_grpc.BaseModelServiceStub(channel),
            publisher=Publisher(artifacts, adapter_pb2_grpc.AdapterServiceStub(channel), MemoryStore().blobs),
            signing_key=TEST_KEY,
            executor=NoTraining(),
            cache_dir=tmp_path / "cache",
            base_roots=(),
            flush_seconds=60,
            threads=None,
            checkpoints=CheckpointPolicy(seconds=None, steps=None),
            pause_seconds=0,
        )
        version = await attempts.run(second, asyncio.Event())
    assert version is not None
    assert version.version == made.digest
    job = await store.jobs.get(second.lease.name)
    assert (job.progress.step, job.progress.loss) == (7, 0.5)


class Killed(BaseException):
    """The worker is killed here."""


class Mortal:
    """Calls once, like ``at_once``, until a call during which its worker is killed: before it is made, or before its answer."""

    def __init__(self, last: int, *, answered: bool) -> None:
        self._left = last
        self._answered = answered

    async def __call__(self, call: Callable[[], Awaitable[T]], _tell: Tell | None = None, /) -> T:
        self._left -= 1
        if self._left == 0:
            if self._answered:
                await call()
            raise Killed
        return await call()


CALLS = 9
"""Two files are held, put, and looked for; then adapter, version, its completion and the alias."""


async def test_whoever_is_killed_between_any_two_steps_of_a_publication_leaves_one_version(
    stoppable_postgres: PostgresServer, tmp_path: Path
) -> None:
    artifacts, port = FileSystemStore.open(tmp_path / "artifacts"), free_port()
    files = list_files(adapter_directory(tmp_path / "output"))
    async with registry(stoppable_postgres, tmp_path / "artifacts", port), open_channel(f"127.0.0.1:{port}") as channel:
        stub = adapter_pb2_grpc.AdapterServiceStub(channel)
        with suppress(DomainError):  # another test of this module may have added it
            await add_base(base_model_pb2_grpc.BaseModelServiceStub(channel))
        for number, (last, answered) in enumerate(product(range(1, CALLS + 2), (False, True))):
            adapter, made = AdapterName("default", f"killed-{number}"), manifest(files, seed=1000 + number)

            async def publish(
                persist: Persistence, adapter: AdapterName = adapter, made: AdapterManifest = made
            ) -> AdapterVersionName:
                publisher = Publisher(artifacts, stub, MemoryStore().blobs, persist)
                await publisher.upload("default", made, tmp_path / "output")
                return await publisher.register(adapter, made, signed(made))

            if last <= CALLS:
                with pytest.raises(Killed):
                    await publish(Mortal(last, answered=answered))
                await only_whole_versions(stub, adapter)
            version = await publish(Mortal(CALLS + 1, answered=answered))
            (listed,) = await only_whole_versions(stub, adapter)
            assert listed.name == str(version)


async def only_whole_versions(
    stub: "adapter_pb2_grpc.AdapterServiceAsyncStub", adapter: AdapterName
) -> list[adapter_pb2.AdapterVersion]:
    """The adapter's versions, of which there is one at most; what ``latest`` names is READY."""
    try:
        request = adapter_pb2.ListAdapterVersionsRequest(parent=str(adapter))
        versions = list((await stub.ListAdapterVersions(request)).adapter_versions)
        resolved = await stub.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=str(adapter)))
    except DomainError as error:
        if error.reason not in {Reason.ADAPTER_NOT_FOUND, Reason.ALIAS_NOT_FOUND}:
            raise
        return []
    assert resolved.adapter_version.state == adapter_pb2.AdapterVersion.STATE_READY
    assert len(versions) == 1
    return versions


async def eventually(told: list[Reason], reason: Reason) -> None:
    async with asyncio.timeout(20):
        while reason not in told:
            await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
