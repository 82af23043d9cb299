"""The errors that every route can give, each with an example."""

from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import error_body
from gateway.schemas.errors import ErrorAnswer
from services.common.errors import DomainError, Reason

_WAIT: Final = {
    "Retry-After": {"description": "Seconds to wait before it is sent again.", "schema": {"type": "integer"}}
}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "How to present a key.", "schema": {"const": "Bearer"}}}


@dataclass(frozen=True, slots=True)
class _Described:
    """What a status means.

    Attributes:
        meaning: for people.
        example: an error that has it.
        headers: what comes along, as OpenAPI describes headers.
    """

    meaning: str
    example: DomainError
    headers: dict[str, Any] | None = None


_STATUSES: Final[dict[int, _Described]] = {
    400: _Described(
        "The request cannot be served as it is; `code` says why.",
        DomainError(
            Reason.ADAPTER_BASE_MISMATCH,
            "The adapter was trained on baseModels/qwen2-small (6b328bb82576); this base is baseModels/gpt2-tiny (8f783d422191).",
            {
                "verdict": "ARCHITECTURE_DIFFERS",
                "expected_base": "baseModels/qwen2-small",
                "actual_base": "baseModels/gpt2-tiny",
            },
        ),
    ),
    401: _Described(
        "No valid API key.",
        DomainError(Reason.UNAUTHENTICATED, "There is no valid API key in this request."),
        _CHALLENGE,
    ),
    403: _Described(
        "The key may not do this, here.",
        DomainError(Reason.PERMISSION_DENIED, "This key lacks the scope for that: it needs train."),
    ),
    404: _Described(
        "Something it names does not exist.",
        DomainError(Reason.ADAPTER_NOT_FOUND, "There is no adapter wukong.", {"adapter": "wukong"}),
    ),
    408: _Described(
        "It was sent too slowly.",
        DomainError(Reason.REQUEST_TOO_SLOW, "The body was not there in time: 60 s are the limit.", {"seconds": "60"}),
    ),
    409: _Described(
        "It contradicts what is there now.",
        DomainError(Reason.ETAG_MISMATCH, "The alias stable was changed meanwhile; read it again."),
    ),
    413: _Described(
        "It is larger than a limit.",
        DomainError(
            Reason.LIMIT_EXCEEDED,
            "The body is larger than the 16777216 bytes that are accepted here.",
            {"limit": "16777216"},
        ),
    ),
    431: _Described(
        "Its line and headers are more than are accepted.",
        DomainError(
            Reason.LIMIT_EXCEEDED,
            "The request's line and headers are more than 32768 bytes, or more than 100 headers.",
            {"limit": "32768"},
        ),
    ),
    429: _Described(
        "Too many requests, by this key's limits or because others wait already.",
        DomainError(Reason.RATE_LIMITED, "This key has sent its 600 requests of this minute.", retry_after=2.0),
        _WAIT,
    ),
    500: _Described(
        "A fault of the suite; its logs have the details.",
        DomainError(Reason.INTERNAL, "Something went wrong here; the log has more under the request's id."),
    ),
    503: _Described(
        "A service does not answer.",
        DomainError(Reason.SERVICE_UNAVAILABLE, "A service of the suite does not answer.", retry_after=1.0),
        _WAIT,
    ),
    504: _Described(
        "No answer in time.",
        DomainError(Reason.DEADLINE_EXCEEDED, "The answer was not ready in time."),
    ),
}

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "model": ErrorAnswer,
        "description": described.meaning,
        **({"headers": described.headers} if described.headers else {}),
    }
    for status, described in _STATUSES.items()
}
"""Answers that every route can give, as FastAPI's ``responses`` takes them."""

# Apart from ERRORS, because FastAPI leaves out what is null there.
ERROR_EXAMPLES: Final = {str(status): error_body(described.example) for status, described in _STATUSES.items()}
"""An answer of each status."""
