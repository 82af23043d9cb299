"""Addresses on this machine: where the gateway listens, and free ports for the rest."""

import errno
import random
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.settings import is_loopback

LOOPBACK: Final = "127.0.0.1"

# Below the range from which systems take ports for outgoing connections: such a connection could otherwise hold the
# port of a process that died at the moment it is to start again.
_FIRST: Final = 20_000
_LAST: Final = 32_000


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port; the host is a loopback address."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as HOST:PORT, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Address:
    """Read HOST:PORT; no host means 127.0.0.1, port 0 means any.

    Raises:
        DomainError: SETTINGS_INVALID, or LISTEN_NOT_ALLOWED for an address that other machines could reach.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise DomainError(
            Reason.SETTINGS_INVALID, f"--listen takes HOST:PORT, for example 127.0.0.1:8600, not {text!r}."
        )
    if host in {"", "localhost"}:
        return Address(LOOPBACK, int(port))
    if not is_loopback(host):
        raise DomainError(
            Reason.LISTEN_NOT_ALLOWED,
            f"The suite cannot listen on {host}: it does not speak TLS, so API keys would be readable on their way. "
            "Listen on 127.0.0.1, and reach it from elsewhere through a tunnel (ssh -L) or a proxy that speaks TLS.",
            {"listen": text},
        )
    return Address(host, int(port))


def claim(address: Address) -> Address:
    """Answer `address` with its port, a free one if that is 0, after trying whether it can be bound.

    Raises:
        DomainError: PORT_IN_USE.
    """
    if address.port == 0:
        (port,) = free_ports(1, address.host)
        return Address(address.host, port)
    try:
        _bind(address).close()
    except OSError as error:
        raise _taken(address, error) from None
    return address


def free_ports(count: int, host: str = LOOPBACK, *, but: int = 0) -> list[int]:
    """Pick so many different free ports, `but` not among them.

    Raises:
        DomainError: PORT_IN_USE, if there are not so many.
    """
    with ExitStack() as held:
        ports: list[int] = []
        # The choice need not be secret; random, so that two suites that start together seldom meet.
        for port in random.sample(range(_FIRST, _LAST), 1000):
            if len(ports) == count:
                return ports
            if port == but:
                continue
            try:
                held.enter_context(_bind(Address(host, port)))
            except OSError:
                continue
            ports.append(port)
    raise DomainError(Reason.PORT_IN_USE, f"No {count} free ports between {_FIRST} and {_LAST} were found on {host}.")


def _bind(address: Address) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        # As servers do: a connection of a former server that is being forgotten is no obstacle.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.host, address.port))
        bound.listen(1)
    except OSError:
        bound.close()
        raise
    return bound


def _taken(address: Address, error: OSError) -> DomainError:
    why = "another program has it" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
    return DomainError(
        Reason.PORT_IN_USE,
        f"Port {address.port} on {address.host} cannot be used: {why}. Choose another with --listen "
        f"{address.host}:PORT, or any free one with --listen {address.host}:0.",
        {"port": str(address.port)},
    )
