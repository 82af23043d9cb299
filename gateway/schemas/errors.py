"""Errors, as every answer that is no success tells them."""

from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from gateway.schemas.common import Answered
from services.common.errors import Reason

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "rate_limit_error",
    "cancelled_error",
    "server_error",
    "service_unavailable_error",
    "timeout_error",
]
"""Kinds of errors, as OpenAI's clients know them."""

HttpCode = Literal["unknown_url", "method_not_allowed", "unsupported_endpoint"]
"""What is wrong with a request that no route has taken."""

UNKNOWN_URL: Final[HttpCode] = "unknown_url"
METHOD_NOT_ALLOWED: Final[HttpCode] = "method_not_allowed"
UNSUPPORTED_ENDPOINT: Final[HttpCode] = "unsupported_endpoint"

ErrorCode = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "enum": [*map(str.lower, Reason), UNKNOWN_URL, METHOD_NOT_ALLOWED, UNSUPPORTED_ENDPOINT],
            "description": "Why, for programs. Releases add codes; none of them changes its meaning.",
        }
    ),
]


class Violation(Answered):
    """A field that is wrong."""

    field: str = Field(description="Where it is in the request; empty where it is the whole of it.")
    description: str = Field(description="What is wrong with it.")


class ErrorDetails(Answered):
    """What is ours about an error."""

    metadata: dict[str, str] = Field(description="What the message says, for programs; its keys depend on the code.")
    violations: list[Violation] = Field(description="Every field that is wrong.")


class ErrorObject(Answered):
    """An error as OpenAI's clients know it."""

    message: str = Field(description="Why, and what can be done about it, for people.")
    type: ErrorType = Field(description="Its kind; goes with the status.")
    param: str | None = Field(description="The field that is wrong, where it is one.")
    code: ErrorCode
    details: ErrorDetails


class ErrorAnswer(Answered):
    """Every answer that is no success."""

    error: ErrorObject
