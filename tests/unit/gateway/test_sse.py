"""Server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.sse import comment, event, event_stream, started, until
from services.common.errors import DomainError, Reason


async def failing(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text
    raise DomainError(Reason.QUEUE_FULL, "full")


async def read(events: AsyncIterator[str]) -> list[str]:
    return [str(text) async for text in event_stream(events).body_iterator]


@pytest.mark.parametrize("text", ["plain", "two\nlines", "\r\n\r\ndata: x", "\u2028 孙悟空 😀", ""])
def test_an_event_is_one_line_whatever_it_says(text: str) -> None:
    framed = event({"text": text})
    assert framed.endswith("\n\n")
    (line,) = [line for line in framed.split("\n") if line]
    assert "\r" not in framed
    assert json.loads(line.removeprefix("data: ")) == {"text": text}


def test_a_comment_is_no_event() -> None:
    assert comment("heartbeat") == ": heartbeat\n\n"


async def test_an_error_on_the_way_is_the_last_event() -> None:
    first, last = await read(failing(event({"a": 1})))
    assert json.loads(first.removeprefix("data: ")) == {"a": 1}
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "queue_full"


async def test_an_error_before_the_first_event_is_raised() -> None:
    with pytest.raises(DomainError, match="full"):
        await started(failing())


async def endless(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    await asyncio.Event().wait()


async def test_a_stream_without_an_end_ends_when_the_server_stops() -> None:
    stopping, got = asyncio.Event(), []

    async def follow() -> None:
        async for number in until(endless(3), stopping):
            got.append(number)
            if number == 2:
                stopping.set()

    with pytest.raises(DomainError) as caught:
        await follow()
    assert got == [0, 1, 2]
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE


async def test_a_stream_with_an_end_ends_there() -> None:
    async def two() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [number async for number in until(two(), asyncio.Event())] == [1, 2]


async def test_starting_loses_nothing() -> None:
    async def numbers(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    for count in range(3):
        assert [number async for number in await started(numbers(count))] == list(range(count))
