"""Calls that are made once however often they are sent (https://google.aip.dev/155).

A mutation may carry a ``request_id``. Within the transaction that does the work, the call first claims that id and at
last records its answer under it; so either both happened or neither, and a repeated call gets the first answer. A call
that meets another one with its id in the middle of its work waits for it.

    key = request_key(project, request)
    async with store.transaction() as transaction:
        return await answer_once(transaction.requests, key, CreateAdapterResponse, work)

The Postgres version needs this table, which each service's own migration makes::

    CREATE TABLE <schema>.requests (
      principal   text        NOT NULL,
      method      text        NOT NULL,
      request_id  uuid        NOT NULL,
      digest      text        NOT NULL,
      response    bytea,
      create_time timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (principal, method, request_id)
    );
    CREATE INDEX requests_create_time ON <schema>.requests (create_time);
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from services.common.errors import DomainError, Reason, Violation

M = TypeVar("M", bound=Message)

KEEP_DAYS: Final = 7
"""How long an answer can be repeated."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What identifies a call.

    Attributes:
        principal: the project, whichever of its keys calls: a call that is repeated with a new key is the same call.
        method: full name of the request's message, which belongs to one method.
        request_id: as the caller chose it.
        digest: SHA-256 of the request without its id, to tell a repetition from another request.
    """

    principal: str
    method: str
    request_id: UUID
    digest: str


def request_key(principal: str, request: Message) -> RequestKey | None:
    """Return the key of a request message that has a ``request_id``; None where the caller chose none.

    Raises:
        DomainError: INVALID_ARGUMENT: the id is no UUID.
    """
    text: str = request.request_id  # type: ignore[attr-defined]  # only messages that have one come here
    if not text:
        return None
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    digest = sha256(bare.SerializeToString(deterministic=True)).hexdigest()
    return RequestKey(principal, request.DESCRIPTOR.full_name, _parse(text), digest)


def _parse(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fault = f"request_id is {text[:80]!r}; it must be a UUID, or empty."
        raise DomainError(Reason.INVALID_ARGUMENT, fault, violations=[Violation("request_id", fault)]) from None


class RequestLog(Protocol):
    """The answers given, within one transaction: what it writes appears with the work, or not at all."""

    async def claim(self, key: RequestKey) -> bytes | None:
        """Reserve the key for this transaction; return the first answer if there was one.

        Raises:
            DomainError: REQUEST_ID_REUSED: the same id came with another request.
        """

    async def complete(self, key: RequestKey, response: bytes) -> None:
        """Record the answer of a call that has claimed its key."""


async def answer_once(
    log: RequestLog, key: RequestKey | None, response_type: type[M], work: Callable[[], Awaitable[M]]
) -> M:
    """Do the work and record its answer or, where it was done before, repeat that one; without a key just do it.

    Raises:
        DomainError: REQUEST_ID_REUSED; and what the work raises, which is not recorded.
    """
    if key is None:
        return await work()
    earlier = await log.claim(key)
    if earlier is not None:
        return response_type.FromString(earlier)
    response = await work()
    await log.complete(key, response.SerializeToString(deterministic=True))
    return response


class MemoryRequestLog:
    """A request log over a mapping that the owner's transactions copy."""

    def __init__(self, answers: MutableMapping[tuple[str, str, UUID], tuple[str, bytes]]) -> None:
        """Keep digest and answer by principal, method and id."""
        self._answers = answers

    async def claim(self, key: RequestKey) -> bytes | None:
        """See `RequestLog.claim`."""
        found = self._answers.get((key.principal, key.method, key.request_id))
        return _same_request(key, *found) if found else None

    async def complete(self, key: RequestKey, response: bytes) -> None:
        """See `RequestLog.complete`."""
        self._answers[key.principal, key.method, key.request_id] = (key.digest, response)


class PostgresRequestLog:
    """A request log in the table ``requests`` of a schema, on the connection of a transaction."""

    def __init__(self, connection: AsyncConnection[dict[str, Any]], schema: str) -> None:
        """Write within the transaction that the connection is in."""
        self._connection = connection
        self._table = Identifier(schema, "requests")

    async def claim(self, key: RequestKey) -> bytes | None:
        """See `RequestLog.claim`."""
        await self._connection.execute(_FORGET.format(table=self._table), {"days": KEEP_DAYS})
        inserted = await self._connection.execute(_CLAIM.format(table=self._table), _parameters(key))
        if inserted.rowcount:
            return None
        cursor = await self._connection.execute(_FIND.format(table=self._table), _parameters(key))
        row = await cursor.fetchone()
        return _same_request(key, row["digest"], bytes(row["response"])) if row else None

    async def complete(self, key: RequestKey, response: bytes) -> None:
        """See `RequestLog.complete`."""
        await self._connection.execute(_COMPLETE.format(table=self._table), {**_parameters(key), "response": response})


def _same_request(key: RequestKey, digest: str, response: bytes) -> bytes:
    if digest == key.digest:
        return response
    raise DomainError(
        Reason.REQUEST_ID_REUSED,
        f"request_id {key.request_id} was used before for another request; choose a new one for each call.",
        {"request_id": str(key.request_id)},
    )


def _parameters(key: RequestKey) -> dict[str, object]:
    return {"principal": key.principal, "method": key.method, "request_id": key.request_id, "digest": key.digest}


# Waits while another transaction holds the same key; then there is either its answer or, if it failed, a free key.
_CLAIM: Final = SQL(
    "INSERT INTO {table} (principal, method, request_id, digest) "
    "VALUES (%(principal)s, %(method)s, %(request_id)s, %(digest)s) ON CONFLICT DO NOTHING"
)
_FIND: Final = SQL(
    "SELECT digest, response FROM {table} "
    "WHERE principal = %(principal)s AND method = %(method)s AND request_id = %(request_id)s"
)
_COMPLETE: Final = SQL(
    "UPDATE {table} SET response = %(response)s "
    "WHERE principal = %(principal)s AND method = %(method)s AND request_id = %(request_id)s"
)
# A few old ones at each claim keep the table small without a job of its own.
_FORGET: Final = SQL(
    "DELETE FROM {table} WHERE ctid = ANY (ARRAY("
    "SELECT ctid FROM {table} WHERE create_time < now() - make_interval(days => %(days)s) "
    "LIMIT 20 FOR UPDATE SKIP LOCKED))"
)
