"""One suite over both request logs: the first answer is repeated, and only for the same request."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from services.common.db import Database, open_database
from services.common.errors import DomainError, Reason
from services.common.idempotency import (
    MemoryRequestLog,
    PostgresRequestLog,
    RequestLog,
    answer_once,
    request_key,
)
from services.common.settings import DatabaseSettings
from tenon.registry.v1.adapter_pb2 import Adapter, CreateAdapterRequest, CreateAdapterResponse

TABLE = """
    CREATE SCHEMA app;
    CREATE TABLE app.requests (
      principal text NOT NULL, method text NOT NULL, request_id uuid NOT NULL, digest text NOT NULL,
      response bytea, create_time timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (principal, method, request_id)
    )
"""

Begin = Callable[[], AbstractAsyncContextManager[RequestLog]]


class Answer(Protocol):
    def __call__(self, request: CreateAdapterRequest, project: str = ...) -> Awaitable[CreateAdapterResponse]: ...


def memory() -> Begin:
    answers: dict[tuple[str, str, uuid.UUID], tuple[str, bytes]] = {}
    lock = asyncio.Lock()

    @asynccontextmanager
    async def begin() -> AsyncIterator[RequestLog]:
        async with lock:
            copy = dict(answers)
            yield MemoryRequestLog(copy)
            answers.update(copy)

    return begin


def postgres(database: Database) -> Begin:
    @asynccontextmanager
    async def begin() -> AsyncIterator[RequestLog]:
        async with database.transaction() as connection:
            yield PostgresRequestLog(connection, "app")

    return begin


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with open_database(DatabaseSettings(database_url=postgres_url), application_name="test") as database:
        async with database.transaction() as connection:
            await connection.execute(TABLE)
        yield database


@pytest.fixture(params=["memory", "postgres"])
def begin(request: pytest.FixtureRequest, database: Database) -> Begin:
    return memory() if request.param == "memory" else postgres(database)


@pytest.fixture
def answer(begin: Begin) -> Answer:
    """A call whose answers differ each time the work is really done; asked for the id "fail" it fails."""

    async def answer(request: CreateAdapterRequest, project: str = "default") -> CreateAdapterResponse:
        async def work() -> CreateAdapterResponse:
            await asyncio.sleep(0)
            if request.adapter_id == "fail":
                raise LookupError
            return CreateAdapterResponse(adapter=Adapter(name=request.adapter_id, etag=uuid.uuid4().hex))

        async with begin() as log:
            return await answer_once(log, request_key(project, request), CreateAdapterResponse, work)

    return answer


def request(adapter_id: str = "a", request_id: str | None = None) -> CreateAdapterRequest:
    return CreateAdapterRequest(adapter_id=adapter_id, request_id=request_id or str(uuid.uuid4()))


async def test_the_same_request_gets_the_first_answer(answer: Answer) -> None:
    first = request()
    assert await answer(first) == await answer(first)


async def test_an_id_is_a_uuid_in_any_spelling(answer: Answer) -> None:
    first = request()
    assert await answer(first) == await answer(request("a", first.request_id.upper()))


async def test_without_an_id_the_work_is_done_each_time(answer: Answer) -> None:
    assert await answer(CreateAdapterRequest()) != await answer(CreateAdapterRequest())


async def test_an_id_belongs_to_its_principal(answer: Answer) -> None:
    first = request()
    assert await answer(first, "one") != await answer(first, "two")


async def test_another_request_with_the_same_id_is_refused(answer: Answer) -> None:
    first = request()
    await answer(first)
    with pytest.raises(DomainError) as caught:
        await answer(request("b", first.request_id))
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_failure_leaves_the_id_free(answer: Answer) -> None:
    failing = request("fail")
    with pytest.raises(LookupError):
        await answer(failing)
    assert (await answer(request("a", failing.request_id))).adapter.name == "a"


async def test_calls_at_the_same_time_get_one_answer(answer: Answer) -> None:
    first = request()
    answers = await asyncio.gather(*(answer(first) for _ in range(6)))
    assert len({one.adapter.etag for one in answers}) == 1


async def test_what_is_no_uuid_is_refused(answer: Answer) -> None:
    with pytest.raises(DomainError) as caught:
        await answer(request("a", "one"))
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "request_id"


async def test_old_answers_are_forgotten(database: Database) -> None:
    old = request_key("default", request())
    assert old is not None
    begin = postgres(database)
    async with begin() as log:
        await log.claim(old)
        await log.complete(old, b"old")
    async with database.transaction() as connection:
        await connection.execute("UPDATE app.requests SET create_time = now() - interval '8 days'")
    async with begin() as log:
        assert await log.claim(old) is None
