"""A place for one attempt's files, and nothing left of attempts whose worker is dead."""

import asyncio
import fcntl
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog

from services.common.errors import DomainError, Reason
from services.trainer.model import TrainingJob

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def job_directory(root: Path, job: TrainingJob) -> AsyncIterator[Path]:
    """Make an empty directory for an attempt, which is gone when the block ends.

    Raises:
        DomainError: DATA_DIRECTORY_UNUSABLE.
    """
    # '@' is in no slug, so two jobs never share a directory.
    path = root / f"{job.name.project}@{job.name.training_job}-{job.attempt}"
    lock = await asyncio.to_thread(_make, path)
    try:
        yield path
    finally:
        await asyncio.to_thread(_remove, path, lock)


def sweep(root: Path) -> None:
    """Remove the directories of attempts that no living worker holds."""
    for lock_file in root.glob("*.lock"):
        lock = lock_file.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            path = lock_file.with_suffix("")
            log.info("removing what a dead worker left", directory=path.name)
            _remove(path, lock)


def _make(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock_file(path).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        text = f"The worker cannot make a directory for the job in {path.parent}: {error.strerror}."
        raise DomainError(Reason.DATA_DIRECTORY_UNUSABLE, text) from error
    return lock


def _remove(path: Path, lock: IO[str]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _lock_file(path).unlink(missing_ok=True)
    lock.close()


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
