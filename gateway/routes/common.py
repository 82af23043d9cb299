"""What routes of several resources share."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Header

from gateway.schemas.common import CursorListing
from services.common.errors import DomainError, Reason, Violation

M = TypeVar("M")
T = TypeVar("T")

MAX_PAGE: Final = 500

RequestId = Annotated[
    str,
    Header(alias="Idempotency-Key", description="A UUID; the same request sent again with it gets the first answer."),
]


async def cursor_page(
    fetch: Callable[[int, str], Awaitable[tuple[Sequence[M], str]]],
    id_of: Callable[[M], str],
    write: Callable[[M], T],
    *,
    after: str | None,
    limit: int,
) -> CursorListing[T]:
    """Answer a list the way OpenAI pages: what follows the item ``after``.

    Args:
        fetch: reads one page of the service's list by size and token, and gives the next token.
        id_of: an item's id.
        write: an item as it is answered.
        after: the id to go on from, or None.
        limit: how many items to answer at most.

    Raises:
        DomainError: INVALID_ARGUMENT: ``after`` is not in the list.
    """
    found: list[M] = []
    passed, token = after is None, ""
    # Services page by tokens of their own, so an id has to be looked for.
    size = min(limit + 1, MAX_PAGE) if passed else MAX_PAGE
    while len(found) <= limit:
        items, token = await fetch(size, token)
        for item in items:
            if passed:
                found.append(item)
            passed = passed or id_of(item) == after
        if not token:
            break
    if not passed:
        text = f"{after!r} is not in this list"
        raise DomainError(Reason.INVALID_ARGUMENT, f"after: {text}.", violations=[Violation("after", text)])
    return _listing([(id_of(item), write(item)) for item in found[:limit]], has_more=len(found) > limit)


async def every_item(fetch: Callable[[int, str], Awaitable[tuple[Sequence[M], str]]]) -> list[M]:
    """Read a service's list to its end."""
    found: list[M] = []
    token = ""
    while True:
        items, token = await fetch(MAX_PAGE, token)
        found.extend(items)
        if not token:
            return found


def backwards(
    fetch: Callable[[int, str], Awaitable[tuple[Sequence[M], str]]],
) -> Callable[[int, str], Awaitable[tuple[Sequence[M], str]]]:
    """A service's list from its end, as one page: services have no other order than their own."""

    async def fetch_all(_size: int, _token: str) -> tuple[Sequence[M], str]:
        return (await every_item(fetch))[::-1], ""

    return fetch_all


def _listing(items: Sequence[tuple[str, T]], *, has_more: bool) -> CursorListing[T]:
    return CursorListing(
        data=[item for _, item in items],
        has_more=has_more,
        first_id=items[0][0] if items else None,
        last_id=items[-1][0] if items else None,
    )
