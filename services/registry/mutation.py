"""One mutation: a transaction, in which the request's id is claimed, the work done and its answer recorded."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from services.common.idempotency import answer_once, request_key
from services.registry.store import RegistryStore, RegistryTransaction

M = TypeVar("M", bound=Message)


async def mutate(
    store: RegistryStore,
    project: str,
    request: Message,
    response_type: type[M],
    work: Callable[[RegistryTransaction], Awaitable[M]],
) -> M:
    """Do the work once, however often the request is sent with its request_id.

    Raises:
        DomainError: INVALID_ARGUMENT: request_id is no UUID; REQUEST_ID_REUSED; and what the work raises.
    """
    key = request_key(project, request)
    async with store.transaction() as transaction:
        return await answer_once(transaction.requests, key, response_type, lambda: work(transaction))
