import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from cli.suite.ports import Address
from cli.suite.probes import file_exists, grpc_serves, http_ready

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def states() -> AsyncIterator[tuple[health.HealthServicer, Address]]:
    server, servicer = aio.server(), health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, Address("127.0.0.1", port)
    await server.stop(0)


async def test_grpc_health_decides(states: tuple[health.HealthServicer, Address]) -> None:
    servicer, address = states
    await servicer.set("", NOT_SERVING)
    assert not await grpc_serves(address)
    await servicer.set("", SERVING)
    assert await grpc_serves(address)


@pytest.fixture
def nobody() -> Address:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return Address("127.0.0.1", server.getsockname()[1])


async def test_nobody_listens(nobody: Address) -> None:
    assert not await grpc_serves(nobody)
    assert not await http_ready(nobody)


async def test_one_who_accepts_and_says_nothing_is_not_ready() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        assert not await grpc_serves(address)
        assert not await http_ready(address)


@pytest.mark.parametrize(("status", "expected"), [("200 OK", True), ("503 Service Unavailable", False)])
async def test_http_status_decides(status: str, expected: bool) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        assert await http_ready(Address(*server.sockets[0].getsockname())) is expected
    assert asked == [b"GET /readyz HTTP/1.1\r\n"]


async def test_a_file_shows_readiness(tmp_path: Path) -> None:
    assert not await file_exists(tmp_path / "ready")
    (tmp_path / "ready").touch()
    assert await file_exists(tmp_path / "ready")
