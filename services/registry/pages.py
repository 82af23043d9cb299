"""Lists, page by page."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.common.paging import decode_page_token, encode_page_token, page_limit
from services.registry.failures import invalid

T = TypeVar("T")

# What ids and version numbers consist of; anything else was not made here.
_KEY: Final = re.compile(r"[a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a list, as the caller asked for it."""

    size: int
    token: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the token that continues behind them; it is empty at the end."""

    items: Sequence[T]
    next_token: str


async def read_page(
    request: PageRequest, scope: str, fetch: Callable[[str, int], Awaitable[Sequence[T]]], key: Callable[[T], str]
) -> Page[T]:
    """Read one page.

    Args:
        request: as the caller sent it.
        scope: describes the list; a token of one list is refused by every other.
        fetch: answers with at most so many items that come behind a key.
        key: where an item stands in its list.

    Raises:
        DomainError: INVALID_ARGUMENT: the size is negative or the token not from this list.
    """
    limit = page_limit(request.size)
    after = decode_page_token(request.token, scope)
    if not _KEY.fullmatch(after):
        raise invalid("page_token", "page_token is not from this list; start again without it.")
    # One more than asked for tells whether there is a next page.
    items = await fetch(after, limit + 1)
    more = len(items) > limit
    return Page(items[:limit], encode_page_token(key(items[limit - 1]), scope) if more else "")
