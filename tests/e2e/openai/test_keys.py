"""Keys as OpenAI's client knows them: its own exception for each refusal, and the headers of limits."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.gateway.stack import Stack

HI: Any = [{"role": "user", "content": "hi"}]
SHORT: Any = {"max_tokens": 2, "temperature": 0}


def made(http: httpx2.Client, **asked: object) -> str:
    answer = http.post("/v1/api_keys", json=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["secret"])


@pytest.fixture
def server(stack: Stack, http: httpx2.Client) -> Iterator[openai.OpenAI]:
    """A client whose key only gets answers."""
    with stack.openai(api_key=made(http, scopes=["serve"])) as client:
        yield client


def test_a_key_that_serves_gets_answers_and_nothing_else(server: openai.OpenAI, file_id: str) -> None:
    assert server.chat.completions.create(model="tiny-qwen", messages=HI, **SHORT).choices
    assert "tiny-qwen" in {model.id for model in server.models.list()}
    for refused in (
        lambda: server.files.retrieve(file_id),
        lambda: server.files.delete(file_id),
        server.fine_tuning.jobs.list,
        lambda: server.models.delete("tiny-qwen"),
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            refused()
        assert caught.value.code == "permission_denied"


@pytest.mark.parametrize("key", ["none", "tenon-" + "0" * 40, "tenon-" + "Ab3_" * 10, "sk-1234"])
def test_who_is_nobody_is_told_so_and_no_more(stack: Stack, key: str) -> None:
    with stack.openai(api_key=key) as client:
        for refused in (client.models.list, lambda: client.chat.completions.create(model="x", messages=HI)):
            with pytest.raises(openai.AuthenticationError) as caught:
                refused()
            assert (caught.value.code, caught.value.type) == ("unauthenticated", "authentication_error")
            assert key not in caught.value.message


def test_a_revoked_key_is_refused_within_five_seconds(stack: Stack, http: httpx2.Client, server: openai.OpenAI) -> None:
    newest = http.get("/v1/api_keys").json()["data"][0]
    assert server.models.list().data
    http.post(f"/v1/api_keys/{newest['id']}/revoke")
    for _ in range(50):
        try:
            server.with_options(max_retries=0).models.retrieve("tiny-qwen")
        except openai.AuthenticationError:
            return
        time.sleep(0.1)
    raise AssertionError("the key was good for five more seconds")


def test_limits_are_told_in_headers_and_exceeding_them_is_openai_s_own_error(stack: Stack, http: httpx2.Client) -> None:
    key = made(http, scopes=["serve"], requests_per_minute=2, tokens_per_minute=1000)
    with stack.openai(api_key=key) as client:
        answers = [
            client.chat.completions.with_raw_response.create(model="tiny-qwen", messages=HI, **SHORT) for _ in range(2)
        ]
        assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["2", "2"]
        assert answers[1].headers["x-ratelimit-remaining-requests"] == "0"
        assert int(answers[1].headers["x-ratelimit-remaining-tokens"]) < 1000
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="tiny-qwen", messages=HI, **SHORT)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.code == "rate_limited"


def test_a_project_s_key_sees_nothing_of_another(stack: Stack, http: httpx2.Client, file_id: str, job_id: str) -> None:
    assert http.post("/v1/projects", json={"id": "strangers"}).status_code in {200, 409}
    in_theirs = {"Tenon-Project": "strangers"}
    secret = http.post("/v1/api_keys", json={"scopes": ["admin"]}, headers=in_theirs).json()["secret"]
    with stack.openai(api_key=secret) as client:
        assert client.files.list().data == []
        assert client.fine_tuning.jobs.list().data == []
        assert "parrot" not in {model.id for model in client.models.list()}
        for missing in (
            lambda: client.files.retrieve(file_id),
            lambda: client.fine_tuning.jobs.retrieve(job_id),
            lambda: client.models.retrieve("parrot"),
            lambda: client.chat.completions.create(model="parrot", messages=HI),
            lambda: client.models.delete("parrot"),
        ):
            with pytest.raises(openai.NotFoundError):
                missing()
