import asyncio
import fcntl
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.storage.memory import MemoryStore
from services.trainer.worker.job_directory import job_directory, sweep
from tests.unit.trainer.stores import claimed


async def test_a_job_has_a_directory_of_its_own_while_it_runs(tmp_path: Path) -> None:
    _, claim = await claimed(MemoryStore())
    left = tmp_path / "jobs" / "default@one-1"
    left.mkdir(parents=True)
    (left / "old").touch()
    async with job_directory(tmp_path / "jobs", claim.job) as directory:
        assert list(directory.iterdir()) == []
        await asyncio.to_thread(sweep, tmp_path / "jobs")
        assert directory.is_dir()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_what_dead_workers_left_is_swept_and_what_living_ones_use_is_not(tmp_path: Path) -> None:
    for name in ("dead", "living"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.lock").touch()
    with (tmp_path / "living.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living", "living.lock"]


async def test_a_place_that_cannot_be_written_is_an_error_of_the_job(tmp_path: Path) -> None:
    _, claim = await claimed(MemoryStore())
    (tmp_path / "jobs").touch()
    with pytest.raises(DomainError) as raised:
        async with job_directory(tmp_path / "jobs", claim.job):
            pass
    assert raised.value.reason is Reason.DATA_DIRECTORY_UNUSABLE
