"""Audit entries of a service on their way to the registry's process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.auth.guard import AuditEntry
from services.common.errors import DomainError, Reason
from tenon.iam.v1 import iam_pb2, iam_pb2_grpc

MOST_WAITING: Final = 5000
AT_ONCE: Final = 500
RETRY_SECONDS: Final = 1.0
LAST_SECONDS: Final = 5.0
"""How long a service that stops tries to hand over what it still holds."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RemoteAuditLog:
    """Hands entries on in the background, in order, for as long as it takes; see `AuditLog`.

    An answer that is lost has its entries sent again: an entry may be in the log twice, and none is missing.
    """

    def __init__(self, stub: "iam_pb2_grpc.IntrospectionServiceAsyncStub") -> None:
        """Hand entries to the registry's process."""
        self._stub = stub
        self._entries: deque[AuditEntry] = deque()
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    async def ready(self) -> None:
        """See `AuditLog.ready`."""
        if len(self._entries) >= MOST_WAITING:
            text = "The audit log has not been reachable for a while, so nothing may be changed. Try again later."
            raise DomainError(Reason.SERVICE_UNAVAILABLE, text, retry_after=5.0)

    async def record(self, entry: AuditEntry) -> None:
        """See `AuditLog.record`."""
        self._entries.append(entry)
        self._empty.clear()
        self._news.set()

    @asynccontextmanager
    async def handing_on(self) -> AsyncIterator[None]:
        """Hand entries on until the block ends, and what is left then."""
        task = asyncio.create_task(self._hand_on())
        try:
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._empty.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if self._entries:
                log.error("audit entries lost", count=len(self._entries), entries=[*self._entries])

    async def _hand_on(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._entries:
                batch = [self._entries[index] for index in range(min(AT_ONCE, len(self._entries)))]
                request = iam_pb2.RecordAuditEventsRequest(audit_events=map(audit_event, batch))
                try:
                    await self._stub.RecordAuditEvents(request)
                except DomainError as error:
                    log.warning("audit log not reachable", reason=error.reason, waiting=len(self._entries))
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    for _ in batch:
                        self._entries.popleft()
            self._empty.set()


def audit_event(entry: AuditEntry) -> iam_pb2.AuditEvent:
    """Write an audit entry; its place in the log is the log's to say."""
    time = Timestamp()
    time.FromNanoseconds(int(entry.time * 1e9))
    return iam_pb2.AuditEvent(
        time=time,
        principal=entry.principal,
        project=entry.project,
        method=entry.method,
        resource=entry.resource,
        peer=entry.peer,
        code=entry.code,
    )
