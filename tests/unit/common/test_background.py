"""What runs beside something else, again and again."""

import asyncio
from collections.abc import Iterator

from structlog.testing import capture_logs

from services.common.background import again_and_again, beside
from services.common.errors import DomainError, Reason


async def test_it_goes_on_whatever_happens() -> None:
    counts: Iterator[int | Exception] = iter(
        [0, DomainError(Reason.SERVICE_UNAVAILABLE, "down"), ValueError("a fault"), 2]
    )
    done = asyncio.Event()

    async def work() -> dict[str, int]:
        count = next(counts, None)
        if count is None:
            done.set()
            return {}
        if isinstance(count, Exception):
            raise count
        return {"count": count}

    with capture_logs() as logs:
        async with beside(again_and_again("swept", work, 0.001)):
            await asyncio.wait_for(done.wait(), 5)
    told = [(entry["event"], entry["log_level"]) for entry in logs]
    assert told == [("cannot do this now", "warning"), ("failed", "error"), ("swept", "info")]
    assert logs[1]["what"] == "swept"
    assert logs[1]["exc_info"]
