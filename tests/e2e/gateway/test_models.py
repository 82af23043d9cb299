"""Models and aliases as OpenAI has no word for them."""

from typing import Any

import grpc
import httpx2
import openai
import pytest

from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc
from tests.e2e.gateway.stack import Stack

pytestmark = pytest.mark.usefixtures("job_id")


HI: Any = [{"role": "user", "content": "hi"}]


SETTINGS: Any = {"max_tokens": 6, "temperature": 0}


def test_an_alias_can_be_moved_and_answers(http: httpx2.Client, client: openai.OpenAI) -> None:
    version = http.get("/v1/adapters/parrot").json()["latest_version"]
    path = "/v1/adapters/parrot/aliases/production"
    moved = http.put(path, json={"version": version}).json()
    assert (moved["id"], moved["version"]) == ("production", version)
    assert client.chat.completions.create(model="parrot:production", messages=HI, **SETTINGS).choices
    aliases = http.get("/v1/adapters/parrot").json()["aliases"]
    assert {alias["id"] for alias in aliases} == {"latest", "production"}
    stale = http.put(path, json={"version": version, "etag": "stale"})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "etag_mismatch")
    unknown = http.put(path, json={"version": "0" * 64})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "adapter_version_not_found")


def test_a_model_can_be_loaded_ahead(http: httpx2.Client) -> None:
    loaded = http.post("/v1/models/parrot/load").json()
    assert loaded["applied_tensors"] == loaded["total_tensors"] > 0
    assert loaded["base_model"] == "tiny-qwen"
    listed = http.get("/v1/loaded_models").json()["data"]
    assert loaded["adapter_version"] in {model["adapter_version"] for model in listed}
    refused = http.post("/v1/models/parrot:latest/load", json={"base_model": "tiny-gpt"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_base_mismatch")


def test_a_name_of_both_a_base_and_an_adapter_must_say_which(stack: Stack, http: httpx2.Client) -> None:
    stack.add_base("twin", stack.root / "tiny-qwen")
    with grpc.insecure_channel(f"127.0.0.1:{stack.ports['registry']}") as channel:
        request = adapter_pb2.CreateAdapterRequest(parent="projects/default", adapter_id="twin")
        metadata = (("authorization", f"Bearer {stack.key}"),)
        adapter_pb2_grpc.AdapterServiceStub(channel).CreateAdapter(request, metadata=metadata)
    unclear = http.post("/v1/chat/completions", json={"model": "twin", "messages": HI})
    assert unclear.status_code == 400
    assert "base/twin" in unclear.json()["error"]["message"]
    answer = http.post("/v1/chat/completions", json={"model": "base/twin", "messages": HI, **SETTINGS}).json()
    assert answer["tenon"]["base_model"] == "twin"
    empty = http.post("/v1/chat/completions", json={"model": "twin:latest", "messages": HI})
    assert (empty.status_code, empty.json()["error"]["code"]) == (404, "alias_not_found")
    described = http.get("/v1/adapters/twin").json()
    assert (described["base_model"], described["latest_version"], described["aliases"]) == (None, None, [])
