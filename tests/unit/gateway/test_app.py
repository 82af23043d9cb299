"""The application by itself: what it describes, what surrounds each request."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import GatewaySettings

NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    """The application; no service is there."""
    settings = GatewaySettings(
        registry_target=NOWHERE, trainer_target=NOWHERE, inference_target=NOWHERE, http_max_body_bytes=100
    )
    async with open_services(settings) as services:
        yield create_app(services)


async def call(
    app: FastAPI, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request in pieces of 60 bytes."""
    pieces = [body[start : start + 60] for start in range(0, len(body), 60)] or [b""]
    sent: list[Message] = []

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "http_version": "1.1"}
    await app({**scope, "scheme": "http", "server": ("x", 80), "asgi": {"version": "3.0"}}, receive, send)
    got = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(message.get("body", b"") for message in sent[1:])


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{m.upper()} {path}": o for path, item in document["paths"].items() for m, o in item.items()}


async def test_the_description_lists_every_route_with_its_errors(app: FastAPI) -> None:
    document = app.openapi()
    assert document["openapi"].startswith("3.1")
    described = operations(document)
    assert {
        "POST /v1/files", "GET /v1/files", "GET /v1/files/{file_id}", "GET /v1/files/{file_id}/content",
        "DELETE /v1/files/{file_id}", "POST /v1/datasets/check", "POST /v1/fine_tuning/jobs",
        "GET /v1/datasets/{file_id}/statistics", "GET /v1/datasets/{file_id}/preview",
        "GET /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}",
        "POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel", "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/events",
        "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
        "POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/pause", "POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/resume",
        "POST /v1/training_jobs/{fine_tuning_job_id}/pause", "POST /v1/training_jobs/{fine_tuning_job_id}/resume",
        "GET /v1/training_jobs/{fine_tuning_job_id}/checkpoints", "GET /v1/training_jobs/{training_job_id}/watch",
        "POST /v1/training_jobs/plan", "GET /v1/training_jobs/{training_job_id}/report",
        "GET /v1/models", "GET /v1/models/{model}", "POST /v1/models/{model}/load", "POST /v1/models/{model}/unload", "POST /v1/chat/completions",
        "POST /v1/completions", "POST /v1/base_models", "GET /v1/base_models", "GET /v1/base_models/{base_model_id}",
        "GET /v1/adapters", "GET /v1/adapters/{adapter_id}", "GET /v1/adapters/{adapter_id}/versions",
        "POST /v1/adapters/{adapter_id}/versions", "GET /v1/adapters/{adapter_id}/versions/{version}/files/{path}",
        "POST /v1/adapters/{adapter_id}/versions/{version}/revoke",
        "PUT /v1/adapters/{adapter_id}/aliases/{alias_id}", "POST /v1/projects", "GET /v1/projects", "POST /v1/api_keys",
        "GET /v1/api_keys", "GET /v1/api_keys/{key_id}", "POST /v1/api_keys/{key_id}/revoke", "GET /v1/audit_events", "GET /v1/loaded_models",
        "DELETE /v1/base_models/{base_model_id}", "DELETE /v1/adapters/{adapter_id}", "DELETE /v1/adapters/{adapter_id}/versions/{version}",
        "DELETE /v1/adapters/{adapter_id}/aliases/{alias_id}", "DELETE /v1/projects/{project_id}",
        "DELETE /v1/training_jobs/{fine_tuning_job_id}", "DELETE /v1/models/{model}", "POST /v1/storage/collect",
        "POST /v1/session", "GET /v1/session", "DELETE /v1/session", "GET /healthz", "GET /readyz",
    } == set(described)  # fmt: skip
    for name, operation in described.items():
        assert operation["description"], name
        assert {"200", "400", "401", "403", "404", "408", "413", "431", "503"} <= set(operation["responses"]), name
        assert "422" not in operation["responses"], name


async def test_every_reference_of_the_description_leads_somewhere(app: FastAPI) -> None:
    document = app.openapi()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    found = references(document)
    assert found
    for reference in found:
        kind, _, name = reference.removeprefix("#/components/").partition("/")
        assert name in document["components"][kind]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/v1", "/v1/files/", "/v1/nothing"])
async def test_there_are_no_pages_but_the_console_and_no_redirects(app: FastAPI, path: str) -> None:
    status, headers, body = await call(app, "GET", path)
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert b'"unknown_url"' in body


async def test_every_answer_has_security_headers_and_a_request_id(app: FastAPI) -> None:
    for path in ("/healthz", "/nothing"):
        _, headers, _ = await call(app, "GET", path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 129, False), ("", False)])
async def test_a_callers_request_id_is_kept_if_it_is_harmless(app: FastAPI, sent: str, kept: bool) -> None:
    _, headers, _ = await call(app, "GET", "/healthz", X_Request_Id=sent)
    assert (headers["x-request-id"] == sent) is kept


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(app: FastAPI, announced: bool) -> None:
    body = b'{"id": "' + b"x" * 200 + b'"}'
    headers = {"Content_Length": str(len(body))} if announced else {}
    status, _, answer = await call(app, "POST", "/v1/base_models", body, Content_Type="application/json", **headers)
    assert status == 413
    assert b'"limit_exceeded"' in answer


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"[" * 99, b'{"model": "\\ud800"}'])
async def test_what_is_not_the_json_expected_is_a_400(app: FastAPI, body: bytes) -> None:
    status, _, answer = await call(app, "POST", "/v1/chat/completions", body, Content_Type="application/json")
    assert status == 400, answer
    assert b'"invalid_argument"' in answer


async def test_a_fault_of_our_own_is_told_without_its_text(app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("password=hunter2")

    status, headers, body = await call(app, "GET", "/broken")
    assert status == 500
    assert b"hunter2" not in body
    assert b'"internal"' in body
    assert headers["x-request-id"]


async def test_without_services_it_is_alive_and_not_ready(app: FastAPI) -> None:
    assert (await call(app, "GET", "/healthz"))[0] == 200
    status, headers, body = await call(app, "GET", "/readyz")
    assert (status, headers["retry-after"]) == (503, "1")
    for name in (b"registry", b"trainer", b"inference"):
        assert name in body
