"""Requests and tokens a minute: of every key that has a limit, as this gateway has seen them.

Buckets that fill evenly (https://en.wikipedia.org/wiki/Token_bucket): a key may use a minute's worth at once, and then as it comes in. What
an answer takes in tokens is known at its end, so a bucket may fall below zero; then requests wait until it is filled again.
"""

import math
import time
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from services.common.auth.caller import Caller
from services.common.errors import DomainError, Reason

MINUTE: Final = 60.0
MOST_KEYS: Final = 10_000


@dataclass(slots=True)
class Bucket:
    """What is left of a minute's worth; ``limit`` 0 sets none."""

    limit: int
    left: float = field(init=False)
    since: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin full."""
        self.left, self.since = float(self.limit), time.monotonic()

    def fill(self) -> None:
        """Let in what has come since it was last looked at."""
        now = time.monotonic()
        self.left = min(float(self.limit), self.left + (now - self.since) * self.limit / MINUTE)
        self.since = now

    def seconds_to(self, wanted: float) -> float:
        """How long until so much is in it."""
        return max(0.0, (wanted - self.left) * MINUTE / self.limit) if self.limit else 0.0


@dataclass(slots=True)
class Allowance:
    """A key's two buckets."""

    requests: Bucket
    tokens: Bucket

    def take_request(self) -> None:
        """Count a request.

        Raises:
            DomainError: RATE_LIMITED, with the seconds to wait.
        """
        for bucket in (self.requests, self.tokens):
            bucket.fill()
        for bucket, what in ((self.requests, "requests"), (self.tokens, "tokens")):
            # Tokens are taken afterwards, so one that is left lets a request in.
            wait = bucket.seconds_to(1.0)
            if bucket.limit and wait > 0:
                text = f"This key may use {bucket.limit} {what} a minute, and has. Try again in {math.ceil(wait)} s."
                raise DomainError(Reason.RATE_LIMITED, text, {"limit": what}, retry_after=wait)
        self.requests.left -= 1

    def headers(self) -> dict[str, str]:
        """What is left, as OpenAI's headers say it."""
        named = {}
        for bucket, what in ((self.requests, "requests"), (self.tokens, "tokens")):
            if bucket.limit:
                named[f"x-ratelimit-limit-{what}"] = str(bucket.limit)
                named[f"x-ratelimit-remaining-{what}"] = str(max(0, math.floor(bucket.left)))
                named[f"x-ratelimit-reset-{what}"] = f"{bucket.seconds_to(bucket.limit):.0f}s"
        return named


class Limits:
    """The allowances of all keys."""

    def __init__(self) -> None:
        """Nobody has used anything yet."""
        self._allowances: OrderedDict[str, Allowance] = OrderedDict()

    def of(self, caller: Caller) -> Allowance:
        """A key's allowance; a new one where its limits were changed."""
        found = self._allowances.get(caller.principal)
        limits = (caller.requests_per_minute, caller.tokens_per_minute)
        if found is None or (found.requests.limit, found.tokens.limit) != limits:
            found = self._allowances[caller.principal] = Allowance(Bucket(limits[0]), Bucket(limits[1]))
        self._allowances.move_to_end(caller.principal)
        # Whoever comes back after so many others has a full bucket by then, or nearly.
        while len(self._allowances) > MOST_KEYS:
            self._allowances.popitem(last=False)
        return found


ALLOWANCE: Final[ContextVar[Allowance | None]] = ContextVar("allowance", default=None)
"""Of the request at hand."""


def charge(tokens: int) -> None:
    """Take the tokens of an answer from the allowance of whoever asked."""
    allowance = ALLOWANCE.get()
    if allowance is not None:
        allowance.tokens.left -= tokens
