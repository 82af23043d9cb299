"""TLS and mutual TLS between services, and at the gateway."""

import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.app import create_app
from gateway.server import listen_on, running_app
from gateway.services import open_services
from gateway.settings import GatewaySettings
from services.common.errors import DomainError, Reason
from services.common.rpc.channel import open_channel
from services.common.rpc.server import running_server
from services.common.rpc.tls import client_tls
from services.common.settings import ServerSettings, TlsSettings
from tests.support.certificates import Authority, Certificate

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


def showing(certificate: Certificate, **more: Any) -> dict[str, Any]:
    return {"tls_certificate_file": certificate.certificate, "tls_key_file": certificate.key, **more}


async def ask(address: str, settings: TlsSettings) -> int:
    """The state of a server's health."""
    async with open_channel(address, tls=client_tls(settings)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status)


async def unreachable(address: str, settings: TlsSettings) -> bool:
    with pytest.raises(DomainError) as caught:
        await ask(address, settings)
    return caught.value.reason is Reason.SERVICE_UNAVAILABLE


async def test_a_server_is_believed_by_its_authority_alone(ours: Authority, theirs: Authority) -> None:
    settings = ServerSettings(listen="127.0.0.1:0", **showing(ours.issue("server")))
    async with running_server(settings, [], {}) as server:
        assert await ask(server.address, TlsSettings(tls_authorities_file=ours.file)) == 1
        assert await unreachable(server.address, TlsSettings(tls_authorities_file=theirs.file))
        assert await unreachable(server.address, TlsSettings())


async def test_callers_show_a_certificate_where_the_server_asks_for_one(ours: Authority, theirs: Authority) -> None:
    own = showing(ours.issue("server"), tls_authorities_file=ours.file, tls_require_clients=True)
    async with running_server(ServerSettings(listen="127.0.0.1:0", **own), [], {}) as server:
        known = TlsSettings(**showing(ours.issue("worker"), tls_authorities_file=ours.file))
        assert await ask(server.address, known) == 1
        assert await unreachable(server.address, TlsSettings(tls_authorities_file=ours.file))
        stranger = TlsSettings(**showing(theirs.issue("stranger"), tls_authorities_file=ours.file))
        assert await unreachable(server.address, stranger)


async def test_the_gateway_speaks_https(ours: Authority, theirs: Authority) -> None:
    targets: dict[str, Any] = {"registry_target": NOWHERE, "trainer_target": NOWHERE, "inference_target": NOWHERE}
    settings = GatewaySettings(drain_seconds=1, **targets, **showing(ours.issue("gateway")))
    async with (
        open_services(settings) as services,
        running_app(create_app(services), listen_on("127.0.0.1:0"), settings) as url,
    ):
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(ours.file))
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200
        async with httpx2.AsyncClient(
            verify=ssl.create_default_context(cafile=str(theirs.file)), trust_env=False
        ) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(f"{url}/healthz")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CERTIFICATE_FILE": "a"}, "TENON_TLS_CERTIFICATE_FILE and TENON_TLS_KEY_FILE go together"),
        ({"REQUIRE_CLIENTS": "true"}, "TENON_TLS_REQUIRE_CLIENTS needs TENON_TLS_AUTHORITIES_FILE"),
    ],
)
def test_settings_that_are_not_whole_say_so(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"TENON_TLS_{name}", value)
    with pytest.raises(DomainError, match=words) as caught:
        TlsSettings.load()
    assert caught.value.reason is Reason.SETTINGS_INVALID


async def test_files_that_do_not_belong_together_are_told_at_the_start(ours: Authority, tmp_path: Path) -> None:
    one, other = ours.issue("one"), ours.issue("other")
    for key in (other.key, tmp_path / "nothing"):
        settings = ServerSettings(listen="127.0.0.1:0", tls_certificate_file=one.certificate, tls_key_file=key)
        with pytest.raises(DomainError, match="no PEM certificate and its private key") as caught:
            async with running_server(settings, [], {}):
                pass
        assert caught.value.reason is Reason.KEY_INVALID
        assert "PRIVATE" not in caught.value.message
