"""Names that lead out of their place, or look like others: refused wherever something is named, and never a path."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.gateway.stack import ROWS, Stack
from tests.support.raw_http import RawAnswer, head, send

NAMES = {
    "up": "..",
    "here": ".",
    "far up": "../../../../etc/passwd",
    "encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "backslashes": "..\\..\\etc\\passwd",
    "absolute": "/etc/passwd",
    "a drive": "C:\\windows",
    "a URL": "file:///etc/passwd",
    "NUL": "tiny-qwen\0",
    "a line break": "tiny-qwen\n",
    "one-dot leaders": "\u2024\u2024/x",
    "a fullwidth letter": "\uff54iny-qwen",
    "a Cyrillic letter": "tiny-qw\u0435n",
    "right to left": "\u202eniwq-ynit",
    "a home": "~root",
    "an option": "-rf",
    "another project": "projects/other/adapters/x",
    "long": "x" * 5000,
}
REFUSED = {400, 403, 404, 405}


def refused(answer: RawAnswer, where: Any) -> None:
    assert answer.status in REFUSED, (where, answer.status, answer.body[:300])
    assert answer.code, where
    assert b"root:" not in answer.body, where
    assert b"Traceback" not in answer.body, where


@pytest.fixture(scope="module")
def named_paths(stack: Stack) -> list[tuple[str, str]]:
    """Every method and path with a name in it; one name is to be tried at a time, and the others are harmless."""
    with stack.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
    found = []
    for path, item in paths.items():
        for place in re.finditer(r"\{\w+\}", path):
            start, end = (re.sub(r"\{\w+\}", "x", part) for part in (path[: place.start()], path[place.end() :]))
            found += [(method.upper(), f"{start}NAME{end}") for method in item]
    assert len(found) > 30
    return found


@pytest.mark.parametrize("kind", NAMES)
def test_a_path_s_names_lead_nowhere(stack: Stack, named_paths: list[tuple[str, str]], kind: str) -> None:
    port = stack.ports["gateway"]
    for method, path in named_paths:
        for name in {quote(NAMES[kind], safe=""), quote(NAMES[kind], safe="/")}:
            request = head(method, path.replace("NAME", name), stack.key, Content_Length="2")
            refused(send(port, request + b"{}"), (method, path))


def bodies(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """What names something in a body, with this name."""
    said = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    job = {"model": "tiny-qwen", "training_file": "data-1"}
    return [
        ("POST", "/v1/chat/completions", {"model": name, **said}),
        ("POST", "/v1/chat/completions", {"model": "tiny-qwen", "base_model": name, **said}),
        ("POST", "/v1/completions", {"model": f"base/{name}", "prompt": "x", "max_tokens": 1}),
        ("POST", "/v1/completions", {"model": f"tiny-qwen:{name}", "prompt": "x", "max_tokens": 1}),
        ("POST", "/v1/completions", {"model": f"tiny-qwen@{name}", "prompt": "x", "max_tokens": 1}),
        ("POST", "/v1/models/tiny-qwen/load", {"base_model": name}),
        ("POST", "/v1/fine_tuning/jobs", {**job, "model": name}),
        ("POST", "/v1/fine_tuning/jobs", {**job, "training_file": name}),
        ("POST", "/v1/fine_tuning/jobs", {**job, "validation_file": name}),
        ("POST", "/v1/fine_tuning/jobs", {**job, "adapter": name}),
        ("POST", "/v1/training_jobs/plan", {**job, "adapter": name}),
        ("POST", "/v1/base_models", {"id": name, "sources": ["file:///nowhere"], "fingerprint_document": {}}),
        ("POST", "/v1/base_models", {"id": "x", "sources": [name], "fingerprint_document": {}}),
        ("POST", "/v1/projects", {"id": name}),
        ("PUT", "/v1/adapters/x/aliases/latest", {"version": name}),
    ]


@pytest.mark.parametrize("kind", NAMES)
def test_a_body_s_names_lead_nowhere(stack: Stack, kind: str) -> None:
    with stack.http() as http:
        for method, path, body in bodies(NAMES[kind]):
            answer = http.request(method, path, json=body)
            assert answer.status_code in REFUSED, (path, body, answer.text)
            assert answer.json()["error"]["message"]
        for header in ("Tenon-Project", "OpenAI-Project"):
            value = NAMES[kind].encode().replace(b"\n", b"").replace(b"\0", b"")
            if value != b"tiny-qwen":
                answer = http.get("/v1/files", headers={header.encode(): value})
                assert answer.status_code in REFUSED, (header, answer.text)


def files_below(root: Path) -> set[Path]:
    # A store makes its directories once, and they stay.
    return {path for path in root.rglob("*") if path.is_file() and path.suffix != ".log" and "pgdata" not in path.parts}


@pytest.mark.parametrize("kind", NAMES)
def test_an_upload_s_name_is_a_text_or_refused(stack: Stack, kind: str) -> None:
    before = files_below(stack.root.parent)
    name = NAMES[kind].replace("\\", "\\\\").replace("\n", "%0A")
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    form += f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    form += ROWS + b"\r\n--b--\r\n"
    with stack.http() as http:
        answer = http.post("/v1/files", content=form, headers={"Content-Type": "multipart/form-data; boundary=b"})
        if answer.status_code != 200:
            assert answer.status_code == 400, answer.text
            return
        file_id = answer.json()["id"]
        assert re.fullmatch(r"data-[0-9a-f]+", file_id)
        got = http.get(f"/v1/files/{file_id}/content")
        assert got.content == ROWS
        assert got.headers["content-disposition"].isascii()
        assert "/" not in got.headers["content-disposition"].split("''")[1]
        http.delete(f"/v1/files/{file_id}")
    assert files_below(stack.root.parent) == before


@pytest.mark.parametrize("kind", NAMES)
def test_an_adapter_s_files_have_names_of_their_own_or_are_refused(stack: Stack, kind: str) -> None:
    before = files_below(stack.root.parent)
    name = NAMES[kind].replace("\\", "\\\\").replace("\n", "%0A")
    form = b'--b\r\nContent-Disposition: form-data; name="base_model"\r\n\r\ntiny-qwen\r\n'
    form += f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n{{}}\r\n--b--\r\n'.encode()
    with stack.http() as http:
        kind_of_body = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = http.post("/v1/adapters/hostile/versions", content=form, headers=kind_of_body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]
        assert http.get("/v1/adapters/hostile").status_code == 404
    assert files_below(stack.root.parent) == before
