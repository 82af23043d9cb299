"""The one error that crosses process borders, and its passage through gRPC.

A use case raises ``DomainError(Reason.X, "sentence", {...})``. The server interceptor sends it as a
``google.rpc.Status`` with an ErrorInfo (and BadRequest or RetryInfo where they apply); the client interceptor makes an
equal DomainError of that; only the gateway renders it as HTTP. Reasons and status codes: ``services.common.reasons``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.common.reasons import STATUS_CODE, Reason

__all__ = ["DOMAIN", "DomainError", "Reason", "Violation", "from_status", "to_status"]

M = TypeVar("M", bound=Message)

DOMAIN: Final = "tenon"
"""``google.rpc.ErrorInfo.domain`` of every error."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong, as ``google.rpc.BadRequest.FieldViolation`` carries it."""

    field: str
    description: str


class DomainError(Exception):
    """A failure with a reason programs can rely on and a sentence a person can act on.

    Args:
        reason: why, from the public list.
        message: what is wrong, with the value, and what to do.
        metadata: facts for programs; never secrets.
        violations: the fields at fault, for errors of input.
        retry_after: seconds after which the same call may work.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        """Keep every field when copied or sent to another process."""
        return _rebuild, (self.reason, self.message, self.metadata, self.violations, self.retry_after)

    def __repr__(self) -> str:
        """Name the reason first: that is what a log reader looks for."""
        return f"DomainError({self.reason}: {self.message})"

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status code that goes with the reason."""
        return STATUS_CODE[self.reason]


def _rebuild(
    reason: Reason,
    message: str,
    metadata: Mapping[str, str],
    violations: Sequence[Violation],
    retry_after: float | None,
) -> DomainError:
    return DomainError(reason, message, metadata, violations=violations, retry_after=retry_after)


def to_status(error: DomainError) -> status_pb2.Status:
    """Render an error as the ``google.rpc.Status`` that crosses the wire."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.violations:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_status(status: status_pb2.Status) -> DomainError | None:
    """Read back what ``to_status`` wrote; None if the status was not made by Tenon or by a newer one."""
    found = {detail.type_url.rpartition("/")[2]: detail for detail in status.details}
    info = _unpack(found.get("google.rpc.ErrorInfo"), error_details_pb2.ErrorInfo())
    if info is None or info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    bad_request = _unpack(found.get("google.rpc.BadRequest"), error_details_pb2.BadRequest())
    retry = _unpack(found.get("google.rpc.RetryInfo"), error_details_pb2.RetryInfo())
    return DomainError(
        Reason(info.reason),
        status.message,
        dict(info.metadata),
        violations=[Violation(v.field, v.description) for v in bad_request.field_violations] if bad_request else (),
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if retry else None,
    )


def _unpack(packed: AnyMessage | None, message: M) -> M | None:
    if packed is None or not packed.Unpack(message):
        return None
    return message
