"""Questions that tell whether a process is ready. Each answers within about two seconds, and never raises."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.suite.ports import Address

SECONDS: Final = 1.0


async def grpc_serves(address: Address) -> bool:
    """Ask the standard health service about the whole server."""
    # A channel that failed waits before it tries again, so a port on which nobody listens yet gets no channel.
    if not await _accepts(address):
        return False
    # Channels to one address share their waiting, unless told not to; proxies are for other machines.
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with aio.insecure_channel(str(address), options=options) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def http_ready(address: Address, path: str = "/readyz") -> bool:
    """Expect 200 of a GET."""
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=SECONDS) as client:
            answer = await client.get(f"http://{address}{path}")
    except httpx2.HTTPError:
        return False
    return answer.status_code == httpx2.codes.OK


async def file_exists(path: Path) -> bool:
    """Expect a file, which the process writes when it is up."""
    return await asyncio.to_thread(path.is_file)


async def _accepts(address: Address) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
