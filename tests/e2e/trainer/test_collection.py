"""Garbage collection over a real registry, database and store."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.common.admission.listed import list_files
from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.names import SUITE, blob_key
from services.common.db import migrate, open_database
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterName, AdapterVersionName
from services.common.rpc.channel import open_channel
from services.common.settings import DatabaseSettings
from services.trainer.retention.collection import Collector
from services.trainer.storage.memory import MemoryStore
from services.trainer.storage.postgres import MIGRATIONS, SCHEMA, PostgresStore
from services.trainer.support.retry import at_once
from services.trainer.transfer.publish import Publisher
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc, base_model_pb2_grpc
from tests.contract.trainer.samples import dataset, nothing
from tests.e2e.trainer.test_publish import add_base
from tests.support.keys import signed
from tests.support.postgres import PostgresServer
from tests.support.registry import manifest, registry_settings, running_registry

PROJECT = "default"


@dataclass(frozen=True)
class World:
    root: Path
    artifacts: FileSystemStore
    store: PostgresStore
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"

    def collector(self, grace_seconds: float = 0.0) -> Collector:
        return Collector(
            artifacts=self.artifacts, blobs=self.store.blobs, adapters=self.adapters, grace_seconds=grace_seconds
        )

    def publisher(self) -> Publisher:
        return Publisher(self.artifacts, self.adapters, self.store.blobs, persist=at_once)

    def put(self, data: bytes, project: str = PROJECT) -> str:
        return self.artifacts.put(project, [data], max_bytes=len(data)).digest

    def has(self, digest: str, project: str = PROJECT) -> bool:
        return (self.root / "artifacts" / blob_key(project, digest)).exists()

    def adapter_directory(self, number: int) -> Path:
        """A PEFT directory of one tensor whose bytes are of this number alone."""
        directory = self.root / f"adapter-{number}"
        directory.mkdir(exist_ok=True)
        (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": number + 1}))
        header = json.dumps({"q.lora_A.weight": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        content = len(header).to_bytes(8, "little") + header + number.to_bytes(4, "little")
        (directory / "adapter_model.safetensors").write_bytes(content)
        return directory

    async def publish(self, adapter: str, number: int) -> tuple[AdapterVersionName, AdapterManifest]:
        directory = self.adapter_directory(number)
        made = manifest(list_files(directory))
        await self.publisher().upload(PROJECT, made, directory)
        return await self.publisher().register(AdapterName(PROJECT, adapter), made, signed(made)), made

    async def delete(self, adapter: str) -> None:
        name = str(AdapterName(PROJECT, adapter))
        await self.adapters.DeleteAdapter(adapter_pb2.DeleteAdapterRequest(name=name, force=True))


@pytest.fixture
async def world(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    url, artifacts = postgres_server.create_database(), tmp_path / "artifacts"
    store = FileSystemStore.open(artifacts)
    async with (
        running_registry(registry_settings(url, artifacts)) as server,
        open_database(DatabaseSettings(database_url=url), application_name="test") as database,
        open_channel(server.address) as channel,
    ):
        await migrate(database, SCHEMA, MIGRATIONS)
        await add_base(base_model_pb2_grpc.BaseModelServiceStub(channel))
        yield World(tmp_path, store, PostgresStore(database), adapter_pb2_grpc.AdapterServiceStub(channel))


async def test_only_what_nothing_refers_to_goes(world: World) -> None:
    _, made = await world.publish("kept", 1)
    rows = world.put(b"rows")
    await world.store.datasets.add(dataset(sha256=rows), nothing)
    orphan, theirs = world.put(b"orphan"), world.put(b"orphan", "apes")
    needed = {file.sha256 for file in made.files} | {rows}
    dry = await world.collector().collect(dry_run=True)
    assert (dry.blob_count, dry.collected_count, dry.collected_bytes) == (5, 2, 12)
    assert world.has(orphan)
    done = await world.collector().collect()
    assert done == dry
    assert not world.has(orphan)
    assert not world.has(theirs, "apes")
    assert all(map(world.has, needed))
    assert (await world.collector().collect()).collected_count == 0


async def test_nothing_goes_from_the_store_of_another_suite(world: World) -> None:
    orphan = world.put(b"orphan")
    await world.collector(grace_seconds=60).collect()
    stranger = replace(world.collector(), blobs=MemoryStore().blobs)
    for dry_run in (True, False):
        with pytest.raises(DomainError, match="another suite") as caught:
            await stranger.collect(dry_run=dry_run)
        assert caught.value.reason is Reason.SETTINGS_INVALID
    assert world.has(orphan)
    (world.root / "artifacts" / SUITE).unlink()
    assert (await stranger.collect()).collected_count == 1


async def test_what_was_put_of_late_stays(world: World) -> None:
    fresh, old = world.put(b"fresh"), world.put(b"old")
    os.utime(world.root / "artifacts" / blob_key(PROJECT, old), (0, 0))
    assert (await world.collector(grace_seconds=3600).collect()).collected_count == 1
    assert world.has(fresh)
    assert not world.has(old)


async def test_files_of_a_deleted_version_go_and_those_it_shares_stay(world: World) -> None:
    _, made = await world.publish("one", 1)
    await world.publish("two", 1)
    await world.delete("one")
    # What was published of late is held; here nobody publishes any more.
    await forget_holds(world)
    assert (await world.collector().collect()).collected_count == 0
    await world.delete("two")
    assert (await world.collector().collect()).collected_count == len(made.files)


async def test_what_is_uploaded_and_not_yet_registered_is_held(world: World) -> None:
    directory = world.adapter_directory(1)
    made = manifest(list_files(directory))
    await world.publisher().upload(PROJECT, made, directory)
    assert (await world.collector().collect()).collected_count == 0
    await forget_holds(world)
    assert (await world.collector().collect()).collected_count == len(made.files)


async def test_a_collection_beside_publications_takes_nothing_from_them(world: World) -> None:
    """Versions of the same bytes come and go while a collection without any grace runs again and again."""
    stop = asyncio.Event()

    async def collect() -> int:
        count = 0
        while not stop.is_set():
            count += (await world.collector().collect()).collected_count
        return count

    async def churn(number: int) -> None:
        for _ in range(8):
            name = f"adapter-{number}"
            _, made = await world.publish(name, number)
            assert all(world.has(file.sha256) for file in made.files)
            await forget_holds(world, made)
            await world.delete(name)

    collecting = [asyncio.create_task(collect()) for _ in range(2)]
    try:
        await asyncio.gather(*(churn(number) for number in range(4)))
    finally:
        stop.set()
    counts = await asyncio.gather(*collecting)
    assert sum(counts) + (await world.collector().collect()).collected_count > 0


async def test_a_registry_that_is_away_keeps_everything(world: World) -> None:
    orphan = world.put(b"orphan")
    async with open_channel("127.0.0.1:9") as nobody:
        collector = Collector(
            artifacts=world.artifacts,
            blobs=world.store.blobs,
            adapters=adapter_pb2_grpc.AdapterServiceStub(nobody),
            grace_seconds=0,
        )
        with pytest.raises(DomainError):
            await collector.collect()
    assert world.has(orphan)


async def test_thousands_are_looked_at_in_batches(world: World) -> None:
    datas = [str(number).encode() for number in range(1200)]
    for data in datas:
        place = world.root / "artifacts" / blob_key(PROJECT, hashlib.sha256(data).hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    done = await world.collector().collect()
    assert (done.blob_count, done.collected_count) == (1200, 1200)
    assert done.collected_bytes == sum(map(len, datas))


async def forget_holds(world: World, made: AdapterManifest | None = None) -> None:
    """Let the time pass for which what is published is held: of all, or of one manifest."""
    digests = [file.sha256 for file in made.files] if made else None
    async with world.store._database.transaction() as connection:
        query = "DELETE FROM trainer.blob_holds WHERE %(digests)s::text[] IS NULL OR sha256 = ANY (%(digests)s)"
        await connection.execute(query, {"digests": digests})
