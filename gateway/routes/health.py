"""``/healthz`` and ``/readyz``."""

import asyncio
from typing import Final, Literal

from fastapi import APIRouter
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.schemas.common import Answered
from gateway.services import ServicesOf
from services.common.errors import DomainError, Reason

router = APIRouter(tags=["Health"])

# Those who ask wait about a second themselves.
_SECONDS: Final = 0.8


class Alive(Answered):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Answered):
    """The suite can work."""

    status: Literal["ready"] = "ready"


@router.get("/healthz")
async def healthz() -> Alive:
    """Answer while the process is alive, whatever the services do."""
    return Alive()


@router.get("/readyz")
async def readyz(services: ServicesOf) -> Ready:
    """Answer 200 while registry, trainer and inference can serve, else 503 with the names of those that cannot."""
    states = await asyncio.gather(*map(_state, services.channels.values()))
    down = {name: state for name, state in zip(services.channels, states, strict=True) if state != "SERVING"}
    if down:
        text = f"Not ready: {', '.join(f'{name} is {state}' for name, state in down.items())}."
        raise DomainError(Reason.SERVICE_UNAVAILABLE, text, down, retry_after=1.0)
    return Ready()


async def _state(channel: aio.Channel) -> str:
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    except DomainError as error:
        return error.code.name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
