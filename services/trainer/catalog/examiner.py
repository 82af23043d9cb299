"""Runs the process that tokenises rows as training would (``recipe/labelling/examine``), a few at a time."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from services.common.bases.sources import fetch_base
from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import BaseModelName
from services.trainer.datasets import DatasetFormat, Limits
from services.trainer.datasets.tokens import TokenStatistics
from services.trainer.jobs.admission import MIN_SEQUENCE_LENGTH, context_length
from services.trainer.recipe.labelling.examination import (
    Answer,
    ExamineTask,
    Measured,
    Preview,
    Window,
    decode_answer,
    encode_examine_task,
)
from services.trainer.recipe.protocol import Failed
from services.trainer.support.executor import without_secrets
from services.trainer.support.launcher import dying_with_this_process
from services.trainer.support.places import without_place
from services.trainer.support.threads import in_daemon_thread
from services.trainer.support.turns import Turns, scratch_directory
from tenon.registry.v1 import base_model_pb2, base_model_pb2_grpc

PROGRAM: Final = (sys.executable, "-P", "-m", "services.trainer.recipe.labelling.examine")

AT_ONCE: Final = 2
MOST_WAITING: Final = 16
RUN_SECONDS: Final = 150.0
"""How long a process may take; it measures for a minute at most, and may have to hash a large base first."""

MOST_LENGTH: Final = 2**24
_TOLD: Final = 2000

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Measure:
    """What rows are measured by.

    Attributes:
        base_model: the base.
        fingerprint_id: what its files must have.
        sources: where they are.
        max_sequence_length: tokens that rows are cut to, or None for what training would choose.
    """

    base_model: BaseModelName
    fingerprint_id: str
    sources: tuple[str, ...]
    max_sequence_length: int | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A file of rows.

    Attributes:
        path: where it lies.
        format: of its rows.
        count: how many good ones there are.
        limits: that they were checked against.
    """

    path: Path
    format: DatasetFormat
    count: int
    limits: Limits


class Examiner:
    """Measures rows, and shows some, with the tokenizer and template of a base."""

    def __init__(
        self,
        base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub",  # the class exists in the stubs alone
        *,
        cache_dir: Path,
        base_roots: tuple[Path, ...],
        directory: Path | None = None,
        program: tuple[str, ...] = PROGRAM,
        run_seconds: float = RUN_SECONDS,
    ) -> None:
        """Take bases from the registry.

        Args:
            base_models: the registry.
            cache_dir: where bases and their digests are kept.
            base_roots: below which ``file://`` sources may lie.
            directory: for task files; None is the system's temporary directory.
            program: what to run, with the task's file as its last argument.
            run_seconds: how long it may take.
        """
        self._base_models = base_models
        self._cache_dir = cache_dir
        self._base_roots = base_roots
        self._directory = directory
        self._program = program
        self._run_seconds = run_seconds
        self._turns = Turns(at_once=AT_ONCE, most_waiting=MOST_WAITING, work="data sets to be measured")

    async def measure_for(self, base_model: BaseModelName, max_sequence_length: int | None) -> Measure:
        """Ask the registry for a base.

        Raises:
            DomainError: BASE_MODEL_NOT_FOUND; INVALID_ARGUMENT: max_sequence_length is out of range.
        """
        request = base_model_pb2.GetBaseModelRequest(name=str(base_model), view=base_model_pb2.BASE_MODEL_VIEW_FULL)
        base = (await self._base_models.GetBaseModel(request)).base_model
        _check_length(max_sequence_length, context_length(base.fingerprint.document) or MOST_LENGTH)
        return Measure(base_model, base.fingerprint.id, tuple(base.sources), max_sequence_length)

    async def count(self, rows: Rows, measure: Measure) -> TokenStatistics:
        """Measure rows.

        Raises:
            DomainError: why the base cannot be used; QUEUE_FULL; DEADLINE_EXCEEDED.
        """
        answer = await self._examine(rows, measure, None)
        if not isinstance(answer, Measured):
            raise _no_answer("it answered something else")
        return answer.tokens

    async def show(self, rows: Rows, measure: Measure, window: Window) -> Preview:
        """Show some rows.

        Raises:
            DomainError: as ``count``.
        """
        answer = await self._examine(rows, measure, window)
        if not isinstance(answer, Preview):
            raise _no_answer("it answered something else")
        return answer

    async def _examine(self, rows: Rows, measure: Measure, window: Window | None) -> Answer:
        async with self._turns.turn():
            fetch = partial(fetch_base, measure.sources, cache_dir=self._cache_dir, roots=self._base_roots)
            task = ExamineTask(
                base_model=str(measure.base_model),
                base_directory=await in_daemon_thread(fetch),
                base_fingerprint_id=measure.fingerprint_id,
                dataset_path=rows.path,
                dataset_format=rows.format,
                row_count=rows.count,
                limits=rows.limits,
                max_sequence_length=measure.max_sequence_length,
                window=window,
                cache_dir=self._cache_dir / "digests",
            )
            answer = decode_answer(await self._run(task))
        if isinstance(answer, Failed):
            with without_place(task.base_directory, "The base"):
                raise DomainError(answer.reason, answer.message, answer.metadata)
        return answer

    async def _run(self, task: ExamineTask) -> bytes:
        async with scratch_directory("tenon-examine-", self._directory) as folder:
            file = folder / "task.json"
            await asyncio.to_thread(file.write_bytes, encode_examine_task(task))
            return await self._complete([*self._program, str(file)])

    async def _complete(self, argv: list[str]) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *dying_with_this_process(argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**without_secrets(os.environ), "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._run_seconds):
                output, errors = await process.communicate()
        except TimeoutError:
            text = f"Tokenising took more than {self._run_seconds:g} seconds. Look at fewer rows, or at shorter ones."
            raise DomainError(Reason.DEADLINE_EXCEEDED, text) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        if not output:
            log.warning(
                "examination failed", status=process.returncode, errors=errors[-_TOLD:].decode("utf-8", "replace")
            )
            raise _no_answer(f"it ended with status {process.returncode}")
        return output


def _check_length(wanted: int | None, most: int) -> None:
    if wanted is not None and not MIN_SEQUENCE_LENGTH <= wanted <= most:
        field, text = "max_sequence_length", f"it is {wanted}; it must be {MIN_SEQUENCE_LENGTH} to {most}"
        raise DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])


def _no_answer(why: str) -> DomainError:
    return DomainError(
        Reason.INTERNAL, f"The process that tokenises rows gave no answer: {why}. Its log has the details."
    )
