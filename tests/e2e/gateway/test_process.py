"""``python -m gateway`` as a process, and services that go and come back."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.gateway.stack import ROWS, Stack, wait_for
from tests.support.postgres import PostgresServer
from tests.unit.identity.build import Base


@pytest.fixture(scope="module")
def fragile(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Registry, trainer and gateway for tests that stop them; inference never runs."""
    stack = Stack(tmp_path_factory.mktemp("fragile"), postgres_server.create_database())
    try:
        for name in ("registry", "trainer", "gateway"):
            stack.start(name)
        for name in ("registry", "trainer"):
            stack.wait_until_serving(name)
        wait_for(lambda: alive(stack), "gateway")
        yield stack
    finally:
        for process in stack.processes.values():
            process.terminate()
        for process in stack.processes.values():
            process.wait(timeout=30)


def alive(stack: Stack) -> bool:
    try:
        with stack.http() as http:
            return http.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_service_that_is_down_is_a_503_and_recovery_needs_no_restart(fragile: Stack) -> None:
    with fragile.http() as http:
        assert http.get("/v1/base_models").status_code == 200
        fragile.stop("registry")
        answer = http.get("/v1/base_models")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "service_unavailable"
        assert str(fragile.ports["registry"]) not in answer.text
        # What needs no registry goes on.
        assert http.get("/v1/files").status_code == 200
        assert "registry" in http.get("/readyz").json()["error"]["details"]["metadata"]
        fragile.start("registry")
        wait_for(lambda: http.get("/v1/base_models").status_code == 200, "recovery", 30)


def test_an_upload_without_its_trainer_is_a_503(fragile: Stack) -> None:
    with fragile.http() as http:
        fragile.stop("trainer")
        files = {"file": ("rows.jsonl", ROWS * 20_000)}
        answer = http.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
        assert http.post("/v1/datasets/check", content=ROWS).status_code == 503
        fragile.start("trainer")
        fragile.wait_until_serving("trainer")
        wait_for(lambda: http.get("/v1/files").status_code == 200, "recovery", 30)
        assert http.get("/v1/files").json()["data"] == []


def test_a_trainer_that_is_stopped_during_an_import_leaves_nothing(fragile: Stack) -> None:
    uploads = fragile.root / "uploads"
    uploads.mkdir()
    fragile.add_base("tiny", Base().write(fragile.root / "tiny"))
    fragile.stop("trainer")
    fragile.start("trainer", TENON_UPLOAD_DIR=str(uploads))
    fragile.wait_until_serving("trainer")
    head = "POST /v1/adapters/half/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000000\r\n"
    with socket.create_connection(("127.0.0.1", fragile.ports["gateway"])) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        connection.sendall(b'--b\r\nContent-Disposition: form-data; name="base_model"\r\n\r\ntiny\r\n')
        name = b'name="file"; filename="adapter_model.safetensors"'
        connection.sendall(b"--b\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + b"w" * 3_000_000)
        wait_for(lambda: any(path.is_file() for path in uploads.rglob("*")), "upload", 10)
        assert fragile.stop("trainer") == 0
        assert list(uploads.iterdir()) == []
        connection.sendall(b"w")
        answer = connection.recv(65536)
    assert b" 503 " in answer.splitlines()[0]
    fragile.start("trainer")
    fragile.wait_until_serving("trainer")
    with fragile.http() as http:
        assert http.get("/v1/adapters/half").status_code == 404


def test_readiness_names_what_is_missing(fragile: Stack) -> None:
    with fragile.http() as http:
        wait_for(lambda: list(down(http)) == ["inference"], "readiness of the others", 30)


def down(http: httpx2.Client) -> dict[str, str]:
    answer = http.get("/readyz")
    assert answer.status_code == 503
    metadata: dict[str, str] = answer.json()["error"]["details"]["metadata"]
    return metadata


def test_the_process_is_small_and_needs_no_torch(fragile: Stack) -> None:
    process = Path(f"/proc/{fragile.processes['gateway'].pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 150 * 1024
    assert "libtorch" not in (process / "maps").read_text()


def test_a_stop_lets_a_request_end(fragile: Stack) -> None:
    with socket.create_connection(("127.0.0.1", fragile.ports["gateway"])) as connection:
        head = "POST /v1/datasets/check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(ROWS)}\r\n\r\n".encode() + ROWS[:10])
        wait_for(lambda: established(fragile), "connection", 10)
        process = fragile.processes.pop("gateway")
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in fragile.log("gateway").read_text(), "stop", 10)
        connection.sendall(ROWS[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"summary"' in answer
    assert process.wait(30) == 0
    fragile.start("gateway")
    wait_for(lambda: alive(fragile), "gateway")


def established(stack: Stack) -> bool:
    port = f":{stack.ports['gateway']:04X} "
    connections = Path("/proc/net/tcp").read_text().splitlines()
    return any(port in line.split(" 01 ")[0] + " " for line in connections if " 01 " in line)


def test_a_port_in_use_is_named(fragile: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        second = Stack(fragile.root, fragile.database_url)
        (fragile.root / "second").mkdir()
        second.root = fragile.root / "second"
        process = second.start("gateway", TENON_LISTEN=address)
        assert process.wait(30) == 2
    told = second.log("gateway").read_text()
    assert address in told
    assert "Traceback" not in told


def test_a_missing_setting_is_named(fragile: Stack) -> None:
    broken = Stack(fragile.root / "broken", fragile.database_url)
    broken.root.mkdir()
    process = broken.start("gateway", TENON_TRAINER_TARGET="", TENON_LISTEN="nowhere")
    assert process.wait(30) == 2
    told = broken.log("gateway").read_text()
    assert "TENON_LISTEN" in told
    assert "Traceback" not in told
