"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeVar

from fastapi.responses import StreamingResponse

from gateway.errors import error_body
from services.common.errors import DomainError, Reason

T = TypeVar("T")

DONE: Final = "data: [DONE]\n\n"
"""How OpenAI ends a stream."""


def event(data: Mapping[str, Any]) -> str:
    """One event; JSON has no line breaks of its own, so it is one line."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def comment(text: str) -> str:
    """What clients skip, and connections need in order not to look dead."""
    return f": {text}\n\n"


async def started(events: AsyncIterator[T]) -> AsyncIterator[T]:
    """Wait for the first item, so that an error before it is still an error of the request."""
    try:
        first = await anext(events)
    except StopAsyncIteration:
        return _empty()
    return _continued(first, events)


def event_stream(events: AsyncIterator[str]) -> StreamingResponse:
    """Answer with events; an error on the way is the last one."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_with_errors(events), media_type="text/event-stream", headers=headers)


async def until(events: AsyncIterator[T], stopping: asyncio.Event) -> AsyncIterator[T]:
    """Pass events on until the server stops: a stream without an end of its own must not hold it up.

    Raises:
        DomainError: SERVICE_UNAVAILABLE once it stops.
    """
    stop = asyncio.ensure_future(stopping.wait())
    following = asyncio.ensure_future(_next(events))
    try:
        while True:
            await asyncio.wait({stop, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise DomainError(
                    Reason.SERVICE_UNAVAILABLE, "The gateway is stopping; follow on later.", retry_after=1
                )
            found = following.result()
            if not found:
                return
            yield found[0]
            following = asyncio.ensure_future(_next(events))
    finally:
        stop.cancel()
        following.cancel()
        await asyncio.gather(stop, following, return_exceptions=True)


async def _next(events: AsyncIterator[T]) -> tuple[T] | None:
    """The next item in a tuple; None at the end. A task cannot raise StopAsyncIteration."""
    async for item in events:
        return (item,)
    return None


async def _with_errors(events: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for text in events:
            yield text
    except DomainError as error:
        yield event(error_body(error))


async def _continued(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for item in rest:
        yield item


async def _empty() -> AsyncIterator[Any]:
    return
    yield
