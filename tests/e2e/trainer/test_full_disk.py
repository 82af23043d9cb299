"""A worker whose disk is full: the job fails and says so, and its row and its events remain."""

import asyncio
import resource

from services.common.errors import Reason, from_status
from tests.e2e.trainer.platform import Platform, State, jsonl
from tests.support.tiny_bases import make_tiny_base

LIMIT = 64 * 1024
"""A limit on the size of files stops writing as a full disk does."""


async def test_a_job_whose_rows_find_no_room_fails_and_says_so(platform: Platform) -> None:
    base = await platform.add_base("tiny", make_tiny_base(platform.root / "bases" / "tiny"))
    rows = [{"prompt": f"{number} {'long ' * 100}", "completion": "yes"} for number in range(500)]
    dataset = await platform.upload(jsonl(rows))
    assert dataset.size_bytes > 2 * LIMIT
    async with platform.worker() as worker:
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        job = await platform.create(base_model=base.name, dataset=dataset.name)
        async with asyncio.timeout(30):
            events = await platform.events(job.name)
    failed = await platform.get(job.name)
    error = from_status(failed.error)
    assert error is not None
    assert (failed.state, error.reason) == (State.STATE_FAILED, Reason.DATA_DIRECTORY_UNUSABLE)
    assert "disk of the worker is full" in error.message
    assert events[-1].state_change.error == failed.error
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert events[2].finding.code == "DISK_FULL"
