"""One way to run a gRPC server, so that every service has health, reflection, limits, tracing, typed errors and drain."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from services.common.auth.guard import Guard
from services.common.errors import DomainError, Reason
from services.common.rpc.interceptors import CallInterceptor
from services.common.rpc.tls import server_tls
from services.common.settings import ServerSettings

CHECK_INTERVAL_SECONDS: Final = 2.0
"""How often a server asks its dependencies whether it can serve."""

Check = Callable[[], Awaitable[None]]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer and how to put it on a server.

    Attributes:
        add: the generated ``add_…ServiceServicer_to_server``.
        servicer: the implementation.
        name: the service's full name, ``tenon.registry.v1.AdapterService``.
    """

    add: Callable[[Any, Any], None]
    servicer: object
    name: str


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts calls.

    Attributes:
        address: host:port it listens on.
    """

    address: str


@asynccontextmanager
async def running_server(
    settings: ServerSettings, services: Sequence[Service], checks: Mapping[str, Check], guard: Guard | None = None
) -> AsyncIterator[RunningServer]:
    """Listen, and on leaving let calls end for ``drain_seconds``.

    Args:
        settings: address and limits.
        services: what to serve; each gets its own health entry, and "" stands for the whole server.
        checks: dependencies by name; while one raises DomainError the server reports NOT_SERVING.
        guard: admits calls; without one every call is.

    Raises:
        DomainError: PORT_IN_USE; KEY_INVALID: the certificate.
    """
    server = aio.server(interceptors=[_tracing(), CallInterceptor(guard)], options=_options(settings))
    for service in services:
        service.add(service.servicer, server)
    states = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, HEALTH_SERVICE, reflection.SERVICE_NAME], server)
    port = _bind(server, settings.listen, server_tls(settings))
    await server.start()
    watcher = asyncio.create_task(_watch_health(states, ["", *names], checks))
    try:
        yield RunningServer(f"{settings.listen.rpartition(':')[0]}:{port}")
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
        await states.enter_graceful_shutdown()
        await server.stop(settings.drain_seconds)


async def serve(
    settings: ServerSettings, services: Sequence[Service], checks: Mapping[str, Check], guard: Guard | None = None
) -> None:
    """Run a server until SIGINT or SIGTERM, then drain it; arguments as for ``running_server``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_server(settings, services, checks, guard) as server:
        log.info("listening", address=server.address, services=[service.name for service in services])
        await stop.wait()
        log.info("stopping")


def _tracing() -> aio.ServerInterceptor:
    interceptor: aio.ServerInterceptor = aio_server_interceptor()  # type: ignore[no-untyped-call]  # ships no types
    return interceptor


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        # A port that is taken must be an error, not a second server that gets half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients ping every 30 s, also between calls; without this the server takes that for an attack.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _bind(server: aio.Server, listen: str, tls: grpc.ServerCredentials | None) -> int:
    try:
        return server.add_insecure_port(listen) if tls is None else server.add_secure_port(listen, tls)
    except RuntimeError:
        raise DomainError(
            Reason.PORT_IN_USE, f"Cannot listen on {listen}: another program has that port, or it is no address here."
        ) from None


async def _watch_health(states: health.HealthServicer, names: Sequence[str], checks: Mapping[str, Check]) -> None:
    serving: bool | None = None
    while True:
        faults = await _failing(checks)
        if serving is not (not faults):
            serving = not faults
            log.info("health changed", serving=serving, faults=faults)
            status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in names:
                await states.set(name, status)
        # Fast while waiting for dependencies to come up, slow once they are.
        await asyncio.sleep(CHECK_INTERVAL_SECONDS if serving else 0.1)


async def _failing(checks: Mapping[str, Check]) -> dict[str, str]:
    async def fault(check: Check) -> str | None:
        try:
            await check()
        except DomainError as error:
            return str(error)
        except Exception:
            log.exception("health check failed")
            return "internal error"
        return None

    faults = await asyncio.gather(*map(fault, checks.values()))
    return {name: text for name, text in zip(checks, faults, strict=True) if text is not None}
