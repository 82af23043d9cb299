"""A call's answer, kept under its request_id and repeated when the call is."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.common.idempotency import RequestKey, RequestLog, answer_once

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Once(Generic[T, M]):
    """How one call is answered.

    Attributes:
        key: what identifies the call; None where its caller chose no request_id.
        response_type: the message it is answered with.
        to_response: makes that message of the use case's result.
    """

    key: RequestKey | None
    response_type: type[M]
    to_response: Callable[[T], M]

    def of_content(self, sha256: str) -> "Once[T, M]":
        """The same call, identified by the bytes that were streamed with it as well."""
        if self.key is None:
            return self
        digest = hashlib.sha256(f"{self.key.digest}/{sha256}".encode()).hexdigest()
        return replace(self, key=replace(self.key, digest=digest))

    async def answer(self, log: RequestLog, work: Callable[[], Awaitable[T]]) -> M:
        """Do the work, or repeat the answer to the call that did it.

        Raises:
            DomainError: REQUEST_ID_REUSED; whatever the work raises.
        """

        async def respond() -> M:
            return self.to_response(await work())

        return await answer_once(log, self.key, self.response_type, respond)
