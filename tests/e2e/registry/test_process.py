"""`python -m services.registry`: starts, serves, stays small, stops cleanly, and says what is wrong in a line."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from services.common.rpc.channel import open_channel
from tenon.registry.v1 import base_model_pb2 as pb
from tests.e2e.registry.client import Registry, failure
from tests.support.keys import trusted_key_file
from tests.support.postgres import PostgresServer

COMMAND = (sys.executable, "-m", "services.registry")


@pytest.fixture
def environment(postgres_server: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """The settings of a registry with a database of its own."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TENON_LISTEN": "127.0.0.1:0",
        "TENON_DATABASE_URL": postgres_server.create_database(),
        "TENON_ARTIFACTS_URL": (tmp_path / "artifacts").as_uri(),
        "TENON_TRUSTED_KEYS": json.dumps([str(trusted_key_file(tmp_path))]),
        "TENON_LOG_FORMAT": "json",
    }


@asynccontextmanager
async def started(environment: Mapping[str, str]) -> AsyncIterator[tuple[Process, str]]:
    """Start the registry; yield it and its address. Ends it if the block has not."""
    process = await asyncio.create_subprocess_exec(*COMMAND, env=environment, stderr=PIPE)
    try:
        yield process, await asyncio.wait_for(_address(process), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _address(process: Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "listening":
            return str(event["address"])
    raise AssertionError("the registry ended before it listened")


async def last_words(environment: Mapping[str, str]) -> str:
    """Run a registry that cannot start; return what it says."""
    process = await asyncio.create_subprocess_exec(*COMMAND, env=environment, stderr=PIPE)
    try:
        _, text = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    return text.decode().splitlines()[-1]


def memory(process: Process) -> int:
    """Return the most memory the process ever had, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1000


async def test_it_serves_in_little_memory_without_torch_and_stops_at_sigterm(environment: dict[str, str]) -> None:
    async with started(environment) as (process, address):
        async with open_channel(address) as channel:
            registry = Registry(channel)
            await registry.add_base()
            for _ in range(20):
                await registry.base_models.ListBaseModels(pb.ListBaseModelsRequest())
            assert (await failure(registry.resolve(registry.adapter))).reason == "ADAPTER_NOT_FOUND"
        assert memory(process) < 150
        assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 0


async def test_what_is_registered_survives_a_kill(environment: dict[str, str]) -> None:
    async with started(environment) as (process, address), open_channel(address) as channel:
        registry = Registry(channel)
        base = await registry.add_base()
        process.kill()
    async with started(environment) as (_, address), open_channel(address) as channel:
        again = Registry(channel)
        found = await again.base_models.GetBaseModel(pb.GetBaseModelRequest(name=base.name))
        assert found.base_model == base


async def test_a_missing_setting_is_named(environment: dict[str, str]) -> None:
    del environment["TENON_DATABASE_URL"]
    assert "TENON_DATABASE_URL" in await last_words(environment)


async def test_a_url_that_is_none_is_not_quoted(environment: dict[str, str]) -> None:
    environment["TENON_DATABASE_URL"] = "postgresql://me:hush@host:port/x"
    words = await last_words(environment)
    assert "TENON_DATABASE_URL" in words
    assert "hush" not in words


@pytest.mark.parametrize("content", [None, "no key"], ids=["missing", "no-key"])
async def test_a_key_that_is_none_is_named(environment: dict[str, str], tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "mine.pem"
    if content is not None:
        file.write_text(content)
    environment["TENON_TRUSTED_KEYS"] = json.dumps([str(file)])
    assert str(file) in await last_words(environment)


async def test_a_database_of_a_newer_version_is_refused(environment: dict[str, str]) -> None:
    async with started(environment):
        pass
    with psycopg.connect(environment["TENON_DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO registry.migrations (version, name, sha256) VALUES (999, 'later', '')")
    assert "migration 999" in await last_words(environment)


async def test_a_port_in_use_is_named(environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        environment["TENON_LISTEN"] = f"127.0.0.1:{other.getsockname()[1]}"
        assert environment["TENON_LISTEN"] in await last_words(environment)
