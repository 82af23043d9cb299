"""Bodies that are not what their route takes: 400, 413 or 415 in OpenAI's shape for every route that takes one, never a fault of ours."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import psutil
import pytest

from tests.e2e.gateway.stack import Stack
from tests.support.raw_http import head, send

DEEP = 100_000
BODIES = {
    "no JSON": b"hello",
    "half of JSON": b'{"model": "tiny-qwen"',
    "NaN": b'{"model": NaN}',
    "infinity": b'{"model": "tiny-qwen", "temperature": Infinity, "n_epochs": -Infinity}',
    "many brackets": b"[" * DEEP,
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"model":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a field": b'{"model": "tiny-qwen", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge number": b'{"model": ' + b"9" * 10_000 + b"}",
    "no UTF-8": b'{"model": "\xff\xfe"}',
    "UTF-16": '{"model": "tiny-qwen"}'.encode("utf-16"),
    "a lone surrogate": b'{"model": "\\ud800", "id": "\\ud800", "name": "\\ud800", "api_key": "\\ud800"}',
    "a lone surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
    "a surrogate as a name": b'{"\\udfff": 1}',
    "NUL": b'{"model": "\\u0000", "id": "\\u0000", "name": "\\u0000"}',
    "keys twice": b'{"model": "a", "model": {"b": 1}, "id": "a", "id": {"b": 1}, "name": 1, "name": {}}',
    "a list": b"[1, 2]",
    "text": b'"model"',
}


@pytest.fixture(scope="module")
def routes(stack: Stack) -> list[tuple[str, str]]:
    """Every method and path that takes a body, with names that cannot be anything."""
    with stack.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
    found = [
        (method.upper(), re.sub(r"\{\w+\}", "nothing", path))
        for path, item in paths.items()
        for method, operation in item.items()
        if "requestBody" in operation
    ]
    assert len(found) >= 12
    return found


@pytest.fixture
def bounded(stack: Stack) -> Iterator[None]:
    process = psutil.Process(stack.processes["gateway"].pid)
    before = process.memory_info().rss
    yield
    assert process.is_running()
    assert process.memory_info().rss - before < 100 * 2**20


def require_refusal(answer: httpx2.Response, where: Any) -> None:
    assert answer.status_code in {400, 404, 413, 415}, (where, answer.text[:500])
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys(), where
    assert "Traceback" not in answer.text
    assert len(answer.content) < 20_000, where


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("kind", BODIES)
def test_what_is_not_the_body_expected_is_refused(stack: Stack, routes: list[tuple[str, str]], kind: str) -> None:
    with stack.http() as http:
        for method, path in routes:
            answer = http.request(method, path, content=BODIES[kind], headers={"Content-Type": "application/json"})
            if path == "/v1/datasets/check":
                # Takes any bytes, and says what is wrong with them.
                assert answer.status_code == 200
                assert '"fault"' in answer.text
            elif answer.status_code == 200:
                pytest.fail(f"{method} {path} took {kind}: {answer.text[:200]}")
            else:
                require_refusal(answer, (method, path))


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense", "", None]
)
def test_another_content_type_is_refused(stack: Stack, routes: list[tuple[str, str]], content_type: str | None) -> None:
    with stack.http() as http:
        for method, path in routes:
            headers = {} if content_type is None else {"Content-Type": content_type}
            answer = http.request(method, path, content=b'{"model": "tiny-qwen", "x": 1}', headers=headers)
            if path != "/v1/datasets/check":
                require_refusal(answer, (method, path))


@pytest.mark.usefixtures("bounded")
def test_a_hundred_megabytes_of_json_are_refused_unread(stack: Stack, routes: list[tuple[str, str]]) -> None:
    length = 100 * 2**20
    for method, path in routes:
        form = "datasets/check" in path or path == "/v1/files" or path.endswith("/versions")
        if form:
            continue
        request = head(method, path, stack.key, Content_Length=str(length), Expect="100-continue")
        answer = send(stack.ports["gateway"], request)
        assert (answer.status, answer.code) == (413, "limit_exceeded"), path


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("announced", [True, False])
def test_a_hundred_megabytes_sent_all_the_same_are_refused(stack: Stack, announced: bool) -> None:
    piece = b"x" * 2**20
    length = {"Content_Length": str(100 * 2**20)} if announced else {"Transfer_Encoding": "chunked"}
    request = head("POST", "/v1/chat/completions", stack.key, **length)
    framed = piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece)
    answer = send(stack.ports["gateway"], request, *[framed] * 100)
    assert (answer.status, answer.code) == (413, "limit_exceeded")
    assert answer.headers["connection"] == "close"
