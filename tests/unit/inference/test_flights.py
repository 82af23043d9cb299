"""Work that is done once for all who need it."""

import asyncio

import pytest

from services.common.errors import DomainError, Reason
from services.inference.flights import Flights


async def test_all_who_ask_meanwhile_wait_for_one_piece_of_work() -> None:
    flights, count, go = Flights(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal count
        count += 1
        await go.wait()

    waiting = [asyncio.create_task(flights.join("a", work)) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*waiting)
    assert count == 1
    await flights.join("a", work)
    assert count == 2


async def test_its_error_is_everybodys_and_the_next_one_tries_again() -> None:
    flights, failures = Flights(), 1

    async def work() -> None:
        nonlocal failures
        await asyncio.sleep(0)
        if failures:
            failures -= 1
            raise DomainError(Reason.OUT_OF_MEMORY, "full")

    results = await asyncio.gather(*(flights.join("a", work) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, DomainError) for result in results)
    await flights.join("a", work)


async def test_it_goes_on_when_those_who_wait_leave() -> None:
    flights, go, done = Flights(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    waiting = asyncio.create_task(flights.join("a", work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_closing_cancels_what_is_under_way() -> None:
    flights = Flights()
    waiting = asyncio.create_task(flights.join("a", lambda: asyncio.sleep(3600)))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
