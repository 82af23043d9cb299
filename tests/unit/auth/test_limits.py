"""Requests and tokens a minute."""

import time

import pytest

from gateway.limits import ALLOWANCE, Limits, charge
from services.common.auth.caller import Caller, Scope
from services.common.errors import DomainError, Reason


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


def caller(requests: int = 0, tokens: int = 0) -> Caller:
    return Caller(
        principal="projects/a/apiKeys/k",
        project="a",
        scopes=frozenset({Scope.SERVE}),
        requests_per_minute=requests,
        tokens_per_minute=tokens,
    )


def test_a_minute_s_requests_and_then_as_they_come_in(clock: Clock) -> None:
    allowances = Limits()
    for left in (2, 1, 0):
        allowance = allowances.of(caller(requests=3))
        allowance.take_request()
        assert allowance.headers()["x-ratelimit-remaining-requests"] == str(left)
    with pytest.raises(DomainError, match=r"may use 3 requests a minute, and has. Try again in 20 s") as caught:
        allowances.of(caller(requests=3)).take_request()
    assert caught.value.reason is Reason.RATE_LIMITED
    assert caught.value.retry_after == pytest.approx(20)
    clock.now += 20.1
    allowances.of(caller(requests=3)).take_request()


def test_tokens_are_taken_at_the_end_and_may_fall_below_zero(clock: Clock) -> None:
    allowance = Limits().of(caller(tokens=60))
    allowance.take_request()
    ALLOWANCE.set(allowance)
    charge(90)
    assert allowance.headers() == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "90s",
    }
    with pytest.raises(DomainError, match="60 tokens a minute"):
        allowance.take_request()
    clock.now += 31.1
    allowance.take_request()


def test_no_limit_is_no_limit(clock: Clock) -> None:
    allowance = Limits().of(caller())
    for _ in range(1000):
        allowance.take_request()
    assert allowance.headers() == {}


def test_changed_limits_begin_anew(clock: Clock) -> None:
    allowances = Limits()
    allowances.of(caller(requests=1)).take_request()
    allowances.of(caller(requests=2)).take_request()
    assert allowances.of(caller(requests=2)).headers()["x-ratelimit-remaining-requests"] == "1"
