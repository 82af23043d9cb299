"""Postgres or the artifact store goes away in the middle, and comes back, while the registry runs on."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import Reason
from services.common.rpc.channel import open_channel
from tenon.registry.v1 import adapter_pb2 as pb
from tests.e2e.registry.client import Registry, failure
from tests.support.postgres import PostgresServer
from tests.support.registry import registry_settings, running_registry

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def channel(stoppable_postgres: PostgresServer, artifacts_directory: Path) -> AsyncIterator[aio.Channel]:
    """A channel to a registry whose Postgres may be stopped."""
    settings = registry_settings(stoppable_postgres.create_database(), artifacts_directory)
    async with running_registry(settings) as server, open_channel(server.address) as channel:
        yield channel


@contextmanager
def gone(directory: Path) -> Iterator[None]:
    """Take a directory away, as a disk that is unmounted."""
    away = directory.rename(directory.with_name("away"))
    try:
        yield
    finally:
        away.rename(directory)


async def wait_until_health_is(channel: aio.Channel, status: int) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    deadline = time.monotonic() + 15
    while (await stub.Check(health_pb2.HealthCheckRequest())).status != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_without_postgres_it_is_unavailable_and_recovers_without_a_restart(
    registry: Registry, channel: aio.Channel, stoppable_postgres: PostgresServer
) -> None:
    created = await registry.add_adapter()
    await wait_until_health_is(channel, SERVING)
    stoppable_postgres.stop()
    started = time.monotonic()
    get = pb.GetAdapterRequest(name=registry.adapter)
    for _ in range(2):
        error = await failure(registry.adapters.GetAdapter(get))
        assert (error.code, error.reason) == (StatusCode.UNAVAILABLE, Reason.DATABASE_UNAVAILABLE)
        assert error.retry_after == 2.0
    assert time.monotonic() - started < 10
    await wait_until_health_is(channel, NOT_SERVING)
    stoppable_postgres.start()
    assert (await registry.adapters.GetAdapter(get)).adapter == created
    await wait_until_health_is(channel, SERVING)


async def test_it_starts_without_postgres_and_migrates_when_it_is_there(
    stoppable_postgres: PostgresServer, artifacts_directory: Path
) -> None:
    settings = registry_settings(stoppable_postgres.create_database(), artifacts_directory)
    stoppable_postgres.stop()
    async with running_registry(settings) as server, open_channel(server.address) as channel:
        registry = Registry(channel)
        assert (await failure(registry.add_adapter())).reason is Reason.DATABASE_UNAVAILABLE
        stoppable_postgres.start()
        await wait_until_health_is(channel, SERVING)
        assert (await registry.add_adapter()).name == registry.adapter


async def test_a_call_that_is_repeated_through_an_outage_is_done_once(
    registry: Registry, stoppable_postgres: PostgresServer
) -> None:
    request_id = str(uuid4())
    first = await registry.add_adapter(request_id=request_id)
    stoppable_postgres.stop()
    assert (await failure(registry.add_adapter(request_id=request_id))).reason is Reason.DATABASE_UNAVAILABLE
    stoppable_postgres.start()
    assert await registry.add_adapter(request_id=request_id) == first


async def test_without_the_artifact_store_nothing_becomes_ready(registry: Registry, artifacts_directory: Path) -> None:
    await registry.add_base()
    await registry.add_adapter()
    version = await registry.add_version()
    project = registry.project.removeprefix("projects/")
    FileSystemStore.open(artifacts_directory).put(project, [b"{}"], max_bytes=10)
    with gone(artifacts_directory):
        error = await failure(registry.finalize(version.name))
    assert (error.code, error.reason) == (StatusCode.UNAVAILABLE, Reason.ARTIFACT_STORE_UNAVAILABLE)
    assert error.retry_after is not None
    assert (await registry.finalize(version.name)).state == pb.AdapterVersion.STATE_READY
