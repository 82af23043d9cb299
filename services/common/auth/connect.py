"""Putting the guard of a service together, from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc import aio

from services.common.auth.audit import RemoteAuditLog
from services.common.auth.credentials import Credentials, ServiceCredentials
from services.common.auth.guard import Guard
from services.common.auth.introspection import RememberedIntrospection, by_rpc
from services.common.settings import AuthSettings
from tenon.iam.v1 import iam_pb2_grpc


def own_credentials(settings: AuthSettings, name: str) -> Credentials | None:
    """What a service's own calls carry; nothing in a suite without keys."""
    return None if settings.service_token is None else ServiceCredentials(name, settings.service_token)


@asynccontextmanager
async def remote_guard(settings: AuthSettings, registry: aio.Channel) -> AsyncIterator[Guard | None]:
    """Guard a service that asks the registry's process who calls; None in a suite without keys.

    Args:
        settings: with the suite's token.
        registry: a channel with the service's own credentials.
    """
    if settings.service_token is None:
        yield None
        return
    stub = iam_pb2_grpc.IntrospectionServiceStub(registry)
    audit = RemoteAuditLog(stub)
    async with audit.handing_on():
        yield Guard(RememberedIntrospection(by_rpc(stub)), settings.service_token, audit)
