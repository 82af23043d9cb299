"""What is no request of HTTP/1.1, or one whose line and headers are too much: refused in OpenAI's shape, in little memory."""

from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.gateway.stack import Stack
from tests.support.raw_http import head, send

MANY = "".join(f"X-{number}: 1\r\n" for number in range(60_000))
END = "Host: x\r\nConnection: close\r\n\r\n"

HEADS = {
    "many headers": (431, f"GET /v1/models HTTP/1.1\r\n{MANY}{END}"),
    "101 small headers": (431, f"GET /v1/models HTTP/1.1\r\n{MANY[:1100]}{END}"),
    "one long header": (431, f"GET /v1/models HTTP/1.1\r\nX: {'x' * 1_000_000}\r\n{END}"),
    "a long URL": (431, f"GET /v1/models?{'x' * 1_000_000} HTTP/1.1\r\n{END}"),
    "a header without an end": (431, f"GET /v1/models HTTP/1.1\r\nX: {'x' * 1_000_000}"),
    "a folded header's many lines": (431, f"GET /v1/models HTTP/1.1\r\nX: y\r\n{' z' * 20_000}\r\n{END}"),
    "NUL in a header": (400, f"GET /v1/models HTTP/1.1\r\nX: a\0b\r\n{END}"),
    "a space in a header's name": (400, f"GET /v1/models HTTP/1.1\r\nX Y: z\r\n{END}"),
    "a header without a name": (400, f"GET /v1/models HTTP/1.1\r\n: z\r\n{END}"),
    "no host": (400, "GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n"),
    "two hosts": (400, f"GET /v1/models HTTP/1.1\r\nHost: y\r\n{END}"),
    "bytes in the path": (400, f"GET /v1/models/ä HTTP/1.1\r\n{END}"),
    "two lengths": (400, f"POST /v1/files HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n{END}"),
    "two lengths in one": (400, f"POST /v1/files HTTP/1.1\r\nContent-Length: 1, 2\r\n{END}"),
    "a negative length": (400, f"POST /v1/files HTTP/1.1\r\nContent-Length: -1\r\n{END}"),
    "a length that is none": (400, f"POST /v1/files HTTP/1.1\r\nContent-Length: 0x10\r\n{END}"),
    "another encoding": (400, f"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n{END}"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
}


@pytest.fixture(scope="module")
def peak(stack: Stack) -> Iterator[None]:
    """Nothing here makes the gateway grow or end."""
    process = psutil.Process(stack.processes["gateway"].pid)
    before = process.memory_info().rss
    yield
    assert process.is_running()
    assert process.memory_info().rss - before < 30 * 2**20


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_cannot_be_is_refused(stack: Stack, kind: str) -> None:
    status, text = HEADS[kind]
    answer = send(stack.ports["gateway"], text.encode("latin-1"))
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.code == ("limit_exceeded" if status == 431 else "invalid_argument")
    assert answer.headers["x-content-type-options"] == "nosniff"
    with stack.http() as http:
        assert http.get("/healthz").status_code == 200


def test_lengths_that_agree_and_a_hundred_headers_are_served(stack: Stack) -> None:
    headers = {f"X-{number}": "1" for number in range(96)}
    assert send(stack.ports["gateway"], head("GET", "/healthz", **headers)).status == 200


@pytest.mark.usefixtures("peak")
def test_a_body_whose_pieces_are_no_pieces_is_refused(stack: Stack) -> None:
    request = head("POST", "/v1/chat/completions", stack.key, Transfer_Encoding="chunked")
    answer = send(stack.ports["gateway"], request, b"5\r\n{}   \r\nzz\r\n")
    assert (answer.status, answer.code) == (400, "invalid_argument")
