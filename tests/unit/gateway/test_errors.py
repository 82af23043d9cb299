"""Typed errors as HTTP."""

import json
from typing import Any

import pytest
from starlette.responses import Response

from gateway.errors import error_body, error_response, validation_error
from services.common.errors import DomainError, Reason, Violation

STATUSES = {
    Reason.INVALID_ARGUMENT: 400,
    Reason.DATASET_EMPTY: 400,
    Reason.ADAPTER_BASE_MISMATCH: 400,
    Reason.MODEL_NOT_FOUND: 404,
    Reason.BASE_MODEL_EXISTS: 409,
    Reason.ETAG_MISMATCH: 409,
    Reason.REQUEST_TOO_SLOW: 408,
    Reason.LIMIT_EXCEEDED: 413,
    Reason.QUEUE_FULL: 429,
    Reason.CANCELLED: 499,
    Reason.INTERNAL: 500,
    Reason.ARTIFACT_CORRUPT: 500,
    Reason.UNIMPLEMENTED: 501,
    Reason.DATABASE_UNAVAILABLE: 503,
    Reason.DEADLINE_EXCEEDED: 504,
}


def body(response: Response) -> Any:
    return json.loads(bytes(response.body))["error"]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_status_a_type_and_its_code(reason: Reason) -> None:
    response = error_response(DomainError(reason, "What and why."))
    assert 400 <= response.status_code <= 599
    assert body(response)["code"] == reason.lower()
    assert body(response)["type"].endswith("_error")
    assert body(response)["message"] == "What and why."


@pytest.mark.parametrize(("reason", "status"), STATUSES.items())
def test_kinds_of_errors_have_the_statuses_clients_expect(reason: Reason, status: int) -> None:
    assert error_response(DomainError(reason, "x")).status_code == status


def test_details_carry_metadata_and_violations_and_param_is_the_first() -> None:
    error = DomainError(
        Reason.DATASET_INVALID,
        "x",
        {"faults": "2"},
        violations=[Violation("line 3", "bad"), Violation("line 4", "worse")],
    )
    assert error_body(error)["error"] == {
        "message": "x",
        "type": "invalid_request_error",
        "param": "line 3",
        "code": "dataset_invalid",
        "details": {
            "metadata": {"faults": "2"},
            "violations": [
                {"field": "line 3", "description": "bad"},
                {"field": "line 4", "description": "worse"},
            ],
        },
    }


@pytest.mark.parametrize(
    ("reason", "asked", "sent"),
    [
        (Reason.DATABASE_UNAVAILABLE, None, "1"),
        (Reason.DATABASE_UNAVAILABLE, 2.2, "3"),
        (Reason.QUEUE_FULL, 0.1, "1"),
        (Reason.QUEUE_FULL, None, "1"),
        (Reason.LIMIT_EXCEEDED, None, None),
        (Reason.INVALID_ARGUMENT, None, None),
    ],
)
def test_retry_after_is_whole_seconds_where_trying_again_helps(
    reason: Reason, asked: float | None, sent: str | None
) -> None:
    assert error_response(DomainError(reason, "x", retry_after=asked)).headers.get("retry-after") == sent


def test_where_services_listen_is_not_told() -> None:
    error = DomainError(Reason.SERVICE_UNAVAILABLE, "10.0.0.7:8601 answered UNAVAILABLE", {"target": "10.0.0.7:8601"})
    assert "10.0.0.7" not in json.dumps(error_body(error))


@pytest.mark.parametrize(
    ("fault", "field", "text"),
    [
        ({"type": "missing", "loc": ("body", "model"), "msg": "Field required"}, "model", "is required"),
        ({"type": "missing", "loc": ("body",), "msg": "Field required"}, "", "The body is required."),
        ({"type": "extra_forbidden", "loc": ("body", "a", "b"), "msg": "Extra"}, "a.b", "unknown parameter"),
        ({"type": "int_type", "loc": ("query", "limit"), "msg": "Input should be"}, "limit", "input should be"),
        ({"type": "model_attributes_type", "loc": ("body",), "msg": "Input"}, "", "application/json"),
        ({"type": "json_invalid", "loc": ("body", 7), "msg": "x", "ctx": {"error": "Oops"}}, "", "Oops at character 7"),
    ],
)
def test_what_pydantic_finds_becomes_one_error(fault: dict[str, Any], field: str, text: str) -> None:
    error = validation_error([fault])
    assert error.reason is Reason.INVALID_ARGUMENT
    assert error.violations[0].field == field
    assert text in error.violations[0].description
    assert text in error.message
