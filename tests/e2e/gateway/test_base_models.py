"""Base models over REST."""

import json

import httpx2
import pytest

from services.common.identity import fingerprint_base
from tests.e2e.gateway.stack import Stack


def test_a_base_is_described_by_its_fingerprint(stack: Stack, http: httpx2.Client) -> None:
    fingerprint = fingerprint_base(stack.root / "tiny-qwen")
    base = http.get("/v1/base_models/tiny-qwen").json()
    assert (base["id"], base["fingerprint"]["id"]) == ("tiny-qwen", fingerprint.id)
    assert base["fingerprint"]["architecture"] == "Qwen2ForCausalLM"
    assert base["fingerprint"]["parameter_count"] > 0
    assert base["fingerprint"]["document"] is None
    full = http.get("/v1/base_models/tiny-qwen?view=full").json()
    assert full["fingerprint"]["document"] == json.loads(fingerprint.to_document())


def test_bases_are_listed_in_pages(http: httpx2.Client) -> None:
    first = http.get("/v1/base_models?page_size=1").json()
    second = http.get("/v1/base_models", params={"page_size": 1, "page_token": first["next_page_token"]}).json()
    assert [first["data"][0]["id"], second["data"][0]["id"]] == ["tiny-gpt", "tiny-qwen"]
    found = http.get("/v1/base_models", params={"fingerprint_id": first["data"][0]["fingerprint"]["id"]}).json()
    assert [base["id"] for base in found["data"]] == ["tiny-gpt"]


def test_the_same_base_again_is_welcome_and_other_bytes_are_not(stack: Stack, http: httpx2.Client) -> None:
    assert stack.add_base("tiny-qwen", stack.root / "tiny-qwen")["id"] == "tiny-qwen"
    document = json.loads(fingerprint_base(stack.root / "tiny-gpt").to_document())
    body = {"id": "tiny-qwen", "sources": ["file:///x"], "fingerprint_document": document}
    answer = http.post("/v1/base_models", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "base_model_exists")


@pytest.mark.parametrize("document", [{}, {"scheme": "tenon.base/1", "id": "0" * 64}, {"id": 5}, {"a": 1e999}])
def test_what_is_no_fingerprint_is_refused(http: httpx2.Client, document: dict[str, object]) -> None:
    body = json.dumps({"id": "new", "sources": ["file:///x"], "fingerprint_document": document})
    answer = http.post("/v1/base_models", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "fingerprint_invalid")
    assert http.get("/v1/base_models/new").json()["error"]["code"] == "base_model_not_found"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/base_models/nobody", 404),
        ("/v1/base_models/tiny-qwen?view=half", 400),
        ("/v1/base_models?page_size=-1", 400),
        ("/v1/base_models?page_token=stolen", 400),
        ("/v1/adapters/nobody", 404),
        ("/v1/adapters/nobody/versions", 404),
    ],
)
def test_what_is_not_there_or_cannot_be(http: httpx2.Client, path: str, status: int) -> None:
    answer = http.get(path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"]
