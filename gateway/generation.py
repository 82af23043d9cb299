"""One answer on its way: asked for as a whole or in pieces, and given up when the client is gone."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.limits import charge
from gateway.mapping.generation import in_rest_terms
from gateway.services import Services
from gateway.sse import started
from services.common.errors import DomainError
from tenon.inference.v1 import inference_pb2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """What every piece of an answer repeats.

    Attributes:
        id: of the answer.
        created: seconds since 1970.
        model: as the caller wrote it.
    """

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, prefix: str, model: str) -> "Head":
        """Begin an answer."""
        return cls(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), model)


async def unless_gone(http: Request, answer: Coroutine[Any, Any, T]) -> T:
    """Wait for something on behalf of a client whose body has been read; it is cancelled if the client leaves.

    Raises:
        ClientDisconnect: it has left.
    """
    task, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_leaving(http))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _leaving(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def generate(
    services: Services, request: inference_pb2.GenerateRequest, http: Request
) -> inference_pb2.GenerateResponse:
    """Ask for an answer as a whole.

    Raises:
        DomainError: as of inference.
        ClientDisconnect: nobody waits for it any more.
    """
    try:
        answer = await unless_gone(http, _whole(services, request))
    except DomainError as error:
        raise in_rest_terms(error) from None
    _charge(answer.usage)
    return answer


async def _whole(services: Services, request: inference_pb2.GenerateRequest) -> inference_pb2.GenerateResponse:
    return await services.inference.Generate(request, timeout=services.settings.generate_seconds)


async def stream(
    services: Services, request: inference_pb2.GenerateRequest, http: Request
) -> AsyncIterator[inference_pb2.StreamGenerateResponse]:
    """Ask for an answer in pieces, and wait for the first; whoever stops reading, or leaves before that, stops the generation.

    Raises:
        DomainError: as of inference.
        ClientDisconnect: nobody waits for it any more.
    """
    return await unless_gone(http, started(_pieces(services, request)))


async def _pieces(
    services: Services, request: inference_pb2.GenerateRequest
) -> AsyncIterator[inference_pb2.StreamGenerateResponse]:
    call = services.inference.StreamGenerate(request, timeout=services.settings.generate_seconds)
    try:
        async for piece in call:
            if piece.HasField("usage"):
                _charge(piece.usage)
            yield piece
    except DomainError as error:
        raise in_rest_terms(error) from None
    finally:
        call.cancel()


def _charge(usage: inference_pb2.Usage) -> None:
    charge(usage.prompt_tokens + usage.completion_tokens)
