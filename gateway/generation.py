"""One answer on its way: asked for as a whole or in pieces, and given up when the client is gone."""

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.limits import charge
from gateway.mapping.generation import in_rest_terms
from gateway.services import Services
from services.common.errors import DomainError
from tenon.inference.v1 import inference_pb2


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


async def generate(services: Services, request: inference_pb2.GenerateRequest) -> inference_pb2.GenerateResponse:
    """Ask for an answer as a whole."""
    try:
        answer = await services.inference.Generate(request, timeout=services.settings.generate_seconds)
    except DomainError as error:
        raise in_rest_terms(error) from None
    _charge(answer.usage)
    return answer


async def stream(
    services: Services, request: inference_pb2.GenerateRequest
) -> AsyncIterator[inference_pb2.StreamGenerateResponse]:
    """Ask for an answer in pieces; whoever stops reading stops the generation."""
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
