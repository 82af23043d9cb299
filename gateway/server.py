"""The HTTP server: a socket of our own, a clean stop, and nobody else's signal handlers."""

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass

import structlog
import uvicorn
from fastapi import FastAPI

from gateway.connection import Patience
from gateway.settings import GatewaySettings
from services.common.errors import DomainError, Reason
from services.common.rpc.tls import server_tls
from services.common.settings import TlsSettings

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


@dataclass(frozen=True, slots=True)
class _Https:
    """Certificate and key, and whose clients are let in, in uvicorn's words."""

    ssl_certfile: str
    ssl_keyfile: str
    ssl_ca_certs: str | None
    ssl_cert_reqs: int


def _https_of(settings: TlsSettings) -> _Https | None:
    if server_tls(settings) is None:
        return None
    mutual = settings.tls_require_clients
    return _Https(
        ssl_certfile=str(settings.tls_certificate_file),
        ssl_keyfile=str(settings.tls_key_file),
        ssl_ca_certs=str(settings.tls_authorities_file) if mutual else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE,
    )


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
async def running_app(app: FastAPI, bound: socket.socket, settings: GatewaySettings) -> AsyncIterator[str]:
    """Serve until the block ends, then let requests end for ``drain_seconds``; gives the URL.

    Raises:
        DomainError: KEY_INVALID.
    """
    https = _https_of(settings)
    secure = asdict(https) if https else {}
    patience = Patience(settings.http_head_seconds, settings.http_stall_seconds)
    config = uvicorn.Config(
        app,
        http=patience.protocol(),  # type: ignore[arg-type]  # calls it, and asks for a class all the same
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        **secure,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await server.up.wait()
        yield _url(bound, "https" if https else "http")
    finally:
        app.state.stopping.set()
        server.should_exit = True
        await serving


async def serve(app: FastAPI, bound: socket.socket, settings: GatewaySettings) -> None:
    """Serve until SIGINT or SIGTERM, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_app(app, bound, settings) as url:
        log.info("listening", url=url)
        await stop.wait()
        log.info("stopping")


def _url(bound: socket.socket, scheme: str) -> str:
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
