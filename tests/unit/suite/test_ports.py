import socket
from contextlib import closing

import pytest

from cli.suite.ports import Address, claim, free_ports, parse_listen
from services.common.errors import DomainError, Reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8600", "127.0.0.1:8600"),
        ("127.8.9.10:1", "127.8.9.10:1"),
        (":0", "127.0.0.1:0"),
        ("localhost:8600", "127.0.0.1:8600"),
        ("[::1]:8600", "[::1]:8600"),
    ],
)
def test_loopback_addresses_are_accepted(text: str, expected: str) -> None:
    assert str(parse_listen(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "8600", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "a:-1", "a:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DomainError, match="HOST:PORT") as raised:
        parse_listen(text)
    assert raised.value.reason is Reason.SETTINGS_INVALID


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "[::]", "example.org", "127.0.0.1.example.org"])
def test_addresses_that_others_could_reach_are_refused(host: str) -> None:
    with pytest.raises(DomainError, match="API keys") as raised:
        parse_listen(f"{host}:8600")
    assert raised.value.reason is Reason.LISTEN_NOT_ALLOWED


def test_a_port_in_use_is_named_with_a_remedy() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            DomainError, match=f"Port {port} on 127.0.0.1 .* another program has it.* --listen"
        ) as raised:
            claim(Address("127.0.0.1", port))
    assert raised.value.reason is Reason.PORT_IN_USE
    assert claim(Address("127.0.0.1", port)).port == port


def test_port_zero_becomes_a_free_one() -> None:
    claimed = claim(Address("127.0.0.1", 0))
    assert claimed.port > 0
    socket.create_server((claimed.host, claimed.port)).close()


def test_free_ports_differ_and_leave_out_what_is_asked_to_be_left_out() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert ports[0] not in free_ports(500, but=ports[0])
