"""Clients that take their time, and clients that leave: others are served meanwhile, and nothing of theirs stays."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.e2e.gateway.stack import Stack, free_port, wait_for
from tests.support.raw_http import answer_on, connected, head

SECONDS = 1.0
LONG = {"model": "base/tools-hermes", "max_tokens": 1900, "temperature": 0, "regex": "[a-z]{4000,}"}
ASKED_AT = "/v1/chat/completions"
LOADED = '"base_model":"tools-hermes","base_fingerprint_id"'
WITHIN = 3.0
"""One second, and what a busy machine adds."""
ASKED: dict[str, Any] = {**LONG, "messages": [{"role": "user", "content": "Say 3"}], "stream": True}


@pytest.fixture(scope="module")
def impatient(stack: Stack) -> Iterator[Stack]:
    """A gateway beside the stack's own that waits for a second, and a trainer that keeps uploads where they can be seen."""
    ports = {**stack.ports, "gateway": free_port(), "trainer": free_port()}
    second = Stack(stack.root / "impatient", stack.database_url, stack.key, stack.settings, ports)
    second.root.mkdir()
    uploads(second).mkdir()
    artifacts = {"TENON_ARTIFACTS_URL": (stack.root / "artifacts").as_uri()}
    second.start("trainer", TENON_UPLOAD_DIR=str(uploads(second)), **artifacts)
    limits = dict.fromkeys(("TENON_HTTP_HEAD_SECONDS", "TENON_HTTP_BODY_SECONDS", "TENON_HTTP_STALL_SECONDS"), "1")
    second.start("gateway", **limits)
    second.wait_until_ready()
    yield second
    for name in ("gateway", "trainer"):
        second.stop(name)


def uploads(stack: Stack) -> Path:
    return stack.root / "uploads"


def dripped(stack: Stack, before: bytes, *, seconds: float = 4 * SECONDS) -> float:
    """Send a byte every now and then until the gateway has enough; gives how long that took, and what it said."""
    began = time.monotonic()
    with connected(stack.ports["gateway"]) as connection:
        connection.sendall(before)
        while time.monotonic() - began < seconds:
            try:
                connection.send(b"x")
            except ConnectionError:
                break
            time.sleep(SECONDS / 5)
        return time.monotonic() - began


@pytest.mark.parametrize(
    ("before", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nX: ", 408),
        (b"GET /v1/mod", 408),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\nAuthorization: Bearer KEY\r\n\r\n{", 408),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer KEY\r\n\r\n", 408),
        (b"POST /v1/datasets/check HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\nAuthorization: Bearer KEY\r\n\r\n{", 408),
    ],
)  # fmt: skip
def test_what_is_not_there_in_time_is_a_408(impatient: Stack, before: bytes, status: int) -> None:
    began = time.monotonic()
    with connected(impatient.ports["gateway"]) as connection:
        connection.sendall(before.replace(b"KEY", str(impatient.key).encode()))
        answer = answer_on(connection)
    assert (answer.status, answer.code) == (status, "request_too_slow")
    assert answer.headers["connection"] == "close"
    assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 8


def test_a_connection_on_which_nothing_comes_is_closed(impatient: Stack) -> None:
    with connected(impatient.ports["gateway"]) as connection:
        assert connection.recv(1) == b""


def test_others_are_served_while_a_hundred_drip(impatient: Stack) -> None:
    heads = [b"GET /v1/models HTTP/1.1\r\nX: ", head("POST", "/v1/completions", impatient.key, Content_Length="900")]
    ended: list[float] = []
    threads = [
        threading.Thread(target=lambda n=number: ended.append(dripped(impatient, heads[n % 2], seconds=20)))
        for number in range(100)
    ]
    for thread in threads:
        thread.start()
    with impatient.http() as http:
        for _ in range(10):
            assert http.get("/v1/models").status_code == 200
    for thread in threads:
        thread.join()
    # A body that is refused is thrown away for five seconds first, so that its sender reads why.
    assert len(ended) == 100
    assert max(ended) < SECONDS + 12


def test_whoever_does_not_read_is_disconnected(impatient: Stack) -> None:
    # More than what the kernel keeps for a connection.
    rows = b'{"prompt": "a", "completion": "%b"}\n' % (b"b" * 10_000)
    with impatient.http() as http:
        file = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", rows * 1500)})
        path = f"/v1/files/{file.json()['id']}/content"
        with closing(socket.socket()) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", impatient.ports["gateway"]))
            port = connection.getsockname()[1]
            connection.sendall(head("GET", path, impatient.key))
            assert connection.recv(12) == b"HTTP/1.1 200"
            assert is_connected(impatient, port)
            wait_for(lambda: not is_connected(impatient, port), "end of the connection", 10)
        http.delete(path.removesuffix("/content"))


def is_connected(stack: Stack, port: int) -> bool:
    process = psutil.Process(stack.processes["gateway"].pid)
    return any(tuple(one.raddr)[1:] == (port,) for one in process.net_connections("tcp"))


def told(stack: Stack, service: str, *words: str) -> int:
    """How many lines of a service's log have all of these."""
    return sum(all(word in line for word in words) for line in stack.log(service).read_text().splitlines())


def given_up(stack: Stack) -> int:
    """Answers that inference has begun and given up, because nobody wanted them any more."""
    return told(stack, "inference", "StreamGenerate", "CANCELLED")


def finished(stack: Stack) -> int:
    return told(stack, "inference", "StreamGenerate", "OK")


def ended(stack: Stack) -> int:
    """Requests for answers that the gateway is through with."""
    return told(stack, "gateway", "request answered", ASKED_AT)


def unload(stack: Stack) -> None:
    """Comes to its end once no request uses the base any more."""
    with stack.http() as http:
        assert http.post(f"/v1/models/{ASKED['model']}/unload").json()["unloaded"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/datasets/check"])
def test_an_upload_cut_off_leaves_nothing(impatient: Stack, framing: str, path: str) -> None:
    rows = b'{"prompt": "a", "completion": "b"}\n' * 60_000
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="cut.jsonl"\r\n\r\n'
    sent = (form if path == "/v1/files" else b"") + rows
    extra = {"Content_Length": "50000000"} if framing == "length" else {"Transfer_Encoding": "chunked"}
    with impatient.http() as http:
        before = http.get("/v1/files").json()
        process = psutil.Process(impatient.processes["trainer"].pid)
        files, children = process.num_fds(), process.children()
        with connected(impatient.ports["gateway"]) as connection:
            kind = "multipart/form-data; boundary=b"
            connection.sendall(head("POST", path, impatient.key, Content_Type=kind, **extra))
            connection.sendall(sent if framing == "length" else b"%x\r\n%b\r\n" % (len(sent), sent))
            wait_for(lambda: any(uploads(impatient).iterdir()), "upload", 10)
        wait_for(lambda: not any(uploads(impatient).iterdir()), "end of the upload", 10)
        assert http.get("/v1/files").json() == before
        assert process.children() == children
        wait_for(lambda: process.num_fds() <= files, "closed files", 10)


def test_a_hundred_streams_whose_clients_leave_at_once_free_their_rows(stack: Stack) -> None:
    before = {count: count(stack) for count in (given_up, finished, ended)}
    body = json.dumps(ASKED).encode()
    with ExitStack() as clients:
        connections = [clients.enter_context(connected(stack.ports["gateway"], 60)) for _ in range(100)]
        for connection in connections:
            connection.sendall(head("POST", ASKED_AT, stack.key, Content_Length=str(len(body))) + body)
        # More than there are rows: the others wait for their first token, or have not come to inference yet.
        for connection in connections[:20]:
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert given_up(stack) == before[given_up]
    left = time.monotonic()
    unload(stack)
    assert time.monotonic() - left < WITHIN
    wait_for(lambda: ended(stack) == before[ended] + 100, "end of the requests", 10)
    assert 20 <= given_up(stack) - before[given_up] <= 100
    assert finished(stack) == before[finished]


def test_an_answer_that_nobody_waits_for_is_given_up(stack: Stack) -> None:
    body = json.dumps({**ASKED, "stream": False}).encode()
    with connected(stack.ports["gateway"]) as connection:
        connection.sendall(head("POST", ASKED_AT, stack.key, Content_Length=str(len(body))) + body)
        with stack.http() as http:
            wait_for(lambda: LOADED in http.get("/v1/loaded_models").text, "loading", 30)
    left = time.monotonic()
    unload(stack)
    assert time.monotonic() - left < WITHIN


async def test_watches_whose_clients_leave_end(stack: Stack, file_id: str) -> None:
    asked = {"model": "tiny-gpt", "training_file": file_id, "force": True}
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as http:
        job = (await http.post("/v1/fine_tuning/jobs", json=asked)).json()["id"]
        request = http.build_request("GET", f"/v1/training_jobs/{job}/watch")
        watches = await asyncio.gather(*(http.send(request, stream=True) for _ in range(50)))
        assert {watch.status_code for watch in watches} == {200}
        before = ended_watches(stack)
        await asyncio.gather(*(watch.aclose() for watch in watches))
        await asyncio.to_thread(wait_for, lambda: ended_watches(stack) == before + 50, "end of the watches", 10)
        await http.post(f"/v1/fine_tuning/jobs/{job}/cancel")


def ended_watches(stack: Stack) -> int:
    lines = stack.log("trainer").read_text().splitlines()
    return sum("WatchTrainingJob" in line and "CANCELLED" in line for line in lines)
