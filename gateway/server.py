"""The HTTP server: a socket of our own, a clean stop, and nobody else's signal handlers."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from services.common.errors import DomainError, Reason

_BACKLOG = 1024

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Says when it is up, and leaves signals to us: uvicorn would raise them again before traces are flushed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen_on(address: str) -> socket.socket:
    """Bind host:port; port 0 picks a free one.

    Raises:
        DomainError: PORT_IN_USE.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # A port whose last server has just ended is free; one that somebody listens on is not.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            bound.listen(_BACKLOG)
        except OSError:
            bound.close()
            raise
    except (OSError, OverflowError) as error:
        raise DomainError(
            Reason.PORT_IN_USE,
            f"Cannot listen on {address}: another program has that port, or it is no address here ({error}).",
        ) from None
    return bound


@asynccontextmanager
async def running_app(app: FastAPI, bound: socket.socket, drain_seconds: float) -> AsyncIterator[str]:
    """Serve until the block ends, then let requests end for ``drain_seconds``; gives the URL."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await server.up.wait()
        yield _url(bound)
    finally:
        app.state.stopping.set()
        server.should_exit = True
        await serving


async def serve(app: FastAPI, bound: socket.socket, drain_seconds: float) -> None:
    """Serve until SIGINT or SIGTERM, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_app(app, bound, drain_seconds) as url:
        log.info("listening", url=url)
        await stop.wait()
        log.info("stopping")


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
