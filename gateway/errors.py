"""Typed errors as HTTP: the one place that knows status codes, headers and OpenAI's error shape."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from grpc import StatusCode
from starlette.exceptions import HTTPException

from gateway import unsupported
from gateway.schemas.errors import METHOD_NOT_ALLOWED, UNKNOWN_URL, UNSUPPORTED_ENDPOINT, ErrorType
from services.common.errors import DomainError, Reason, Violation


@dataclass(frozen=True, slots=True)
class _Rendering:
    """How errors of one kind look.

    Attributes:
        status: of HTTP.
        type: ``error.type``, as OpenAI's clients know it.
        retry_after: seconds to wait where the error names none; None sends no Retry-After.
    """

    status: int
    type: ErrorType
    retry_after: float | None = None


_INVALID: Final[ErrorType] = "invalid_request_error"
_SERVER: Final[ErrorType] = "server_error"

_RENDERINGS: Final[Mapping[StatusCode, _Rendering]] = MappingProxyType(
    {
        StatusCode.INVALID_ARGUMENT: _Rendering(400, _INVALID),
        StatusCode.FAILED_PRECONDITION: _Rendering(400, _INVALID),
        StatusCode.OUT_OF_RANGE: _Rendering(400, _INVALID),
        StatusCode.UNAUTHENTICATED: _Rendering(401, "authentication_error"),
        StatusCode.PERMISSION_DENIED: _Rendering(403, "permission_error"),
        StatusCode.NOT_FOUND: _Rendering(404, "not_found_error"),
        StatusCode.ALREADY_EXISTS: _Rendering(409, "conflict_error"),
        StatusCode.ABORTED: _Rendering(409, "conflict_error"),
        StatusCode.RESOURCE_EXHAUSTED: _Rendering(429, "rate_limit_error", 1.0),
        # https://www.rfc-editor.org/rfc/rfc9110 has no status for it; 499 is what proxies write.
        StatusCode.CANCELLED: _Rendering(499, "cancelled_error"),
        StatusCode.INTERNAL: _Rendering(500, _SERVER),
        StatusCode.DATA_LOSS: _Rendering(500, _SERVER),
        StatusCode.UNKNOWN: _Rendering(500, _SERVER),
        StatusCode.UNIMPLEMENTED: _Rendering(501, _SERVER),
        StatusCode.UNAVAILABLE: _Rendering(503, "service_unavailable_error", 1.0),
        StatusCode.DEADLINE_EXCEEDED: _Rendering(504, "timeout_error"),
    }
)
# Sending the same again later does not help, so it is no 429.
_TOO_LARGE: Final = _Rendering(413, _INVALID)
# It is not the answer that was late.
_TOO_SLOW: Final = _Rendering(408, "timeout_error")
_BY_REASON: Final = MappingProxyType({Reason.LIMIT_EXCEEDED: _TOO_LARGE, Reason.REQUEST_TOO_SLOW: _TOO_SLOW})

Headers = dict[str, str]


def _rendering(error: DomainError) -> _Rendering:
    return _BY_REASON.get(error.reason) or _RENDERINGS[error.code]


def error_body(error: DomainError) -> dict[str, Any]:
    """Write an error in OpenAI's shape, with ours under ``details``."""
    error = _without_addresses(error)
    violations = [{"field": v.field, "description": v.description} for v in error.violations]
    param = error.violations[0].field if error.violations else error.metadata.get("field")
    return _body(error.message, _rendering(error).type, error.reason.lower(), param, error.metadata, violations)


def error_response(error: DomainError) -> JSONResponse:
    """Answer a request with an error."""
    rendering = _rendering(error)
    wait = rendering.retry_after if error.retry_after is None else error.retry_after
    headers = {} if wait is None else {"Retry-After": str(max(1, math.ceil(wait)))}
    if error.reason is Reason.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error), rendering.status, headers)


def _without_addresses(error: DomainError) -> DomainError:
    # gRPC's own words tell where services listen, which helps nobody who called over HTTP.
    if error.reason is not Reason.SERVICE_UNAVAILABLE or "target" not in error.metadata:
        return error
    text = "A service of the suite does not answer; GET /readyz says which one. Try again in a moment."
    return DomainError(error.reason, text, retry_after=error.retry_after)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every failure of a route in this shape, FastAPI's own included."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_domain_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DomainError):
        raise error
    return error_response(error)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_response(validation_error(error.errors()))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, DomainError):
        # FastAPI wraps what is raised while it reads a body.
        return error_response(error.__cause__)
    if error.status_code in {404, 405} and (sentence := unsupported.refusal(request.method, request.url.path)):
        return JSONResponse(_body(sentence, _kind(404), UNSUPPORTED_ENDPOINT), 404)
    code, text = {
        404: (UNKNOWN_URL, f"There is no {request.url.path} here; /openapi.json lists what there is."),
        405: (METHOD_NOT_ALLOWED, f"{request.url.path} does not take {request.method}."),
    }.get(error.status_code, ("invalid_argument", str(error.detail)))
    return JSONResponse(_body(text, _kind(error.status_code), code), error.status_code, dict(error.headers or {}))


def _kind(status: int) -> ErrorType:
    return "not_found_error" if status == 404 else _INVALID


def validation_error(faults: Sequence[Mapping[str, Any]]) -> DomainError:
    """Make one typed error of what pydantic found."""
    violations = [Violation(_field(fault), _description(fault)) for fault in faults]
    text = "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in violations)
    return DomainError(Reason.INVALID_ARGUMENT, f"The request is not valid. {text}", violations=violations)


def _field(fault: Mapping[str, Any]) -> str:
    where = [str(part) for part in fault["loc"]]
    # The first part says body, query, path or header; with broken JSON the second is the position.
    return "" if fault["type"] == "json_invalid" else ".".join(where[1:])


def _description(fault: Mapping[str, Any]) -> str:
    kind, text = fault["type"], str(fault["msg"])
    if kind == "extra_forbidden":
        return "unknown parameter"
    if kind == "missing":
        return "is required" if len(fault["loc"]) > 1 else "The body is required."
    if kind == "json_invalid":
        return f"The body is not JSON: {fault.get('ctx', {}).get('error', text)} at character {fault['loc'][-1]}."
    if kind in {"model_attributes_type", "model_type"} and len(fault["loc"]) == 1:
        return "The body must be a JSON object, sent as Content-Type: application/json."
    return text[:1].lower() + text[1:]


def _body(
    message: str,
    kind: ErrorType,
    code: str,
    param: str | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
    violations: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    details = {"metadata": dict(metadata), "violations": list(violations)}
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code, "details": details}}
