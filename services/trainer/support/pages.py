"""Pages of lists that are ordered by a number."""

from collections.abc import Sequence

from services.common.errors import DomainError, Reason, Violation
from services.common.paging import decode_page_token, encode_page_token

_MAX_DIGITS = 18
"""Fewer than a bigint of Postgres has."""


def read_position(token: str, scope: str) -> int | None:
    """Return the number of the last item on the page before; None on the first page.

    Raises:
        DomainError: INVALID_ARGUMENT if the token was not made for this list.
    """
    key = decode_page_token(token, scope)
    if not key:
        return None
    if not key.isdecimal() or len(key) > _MAX_DIGITS:
        text = "page_token is not from this list; start again without it."
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("page_token", text)])
    return int(key)


def next_token(positions: Sequence[int], limit: int, scope: str) -> str:
    """Make the token of the page after ``limit`` items; empty where no more than these were found."""
    return encode_page_token(str(positions[limit - 1]), scope) if len(positions) > limit else ""
