"""What the trainer and a process that tokenises for it say to each other: a task file one way, one line of JSON back.

Both sides decode strictly, as the worker and the recipe do (``protocol``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError, with_config

from services.common.errors import DomainError, Reason
from services.common.rows.model import DatasetFormat, Limits
from services.trainer.datasets.tokens import TokenStatistics
from services.trainer.recipe.protocol import STRICT, Failed


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows to be shown.

    Attributes:
        skip: rows passed over.
        limit: most rows.
    """

    skip: int
    limit: int


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineTask:
    """Rows to be tokenised for a base.

    Attributes:
        base_model: the base's resource name, for error texts.
        base_directory: where its files are.
        base_fingerprint_id: the id these files must have.
        dataset_path: the rows; those with a fault are passed over.
        dataset_format: their format.
        row_count: how many good rows there are.
        limits: what is too much of a row, so that it has a fault.
        max_sequence_length: tokens that rows are cut to, or None for what training would choose.
        window: rows to be shown, or None to measure all.
        cache_dir: where content digests of bases are remembered.
    """

    base_model: str
    base_directory: Path
    base_fingerprint_id: str
    dataset_path: Path
    dataset_format: DatasetFormat
    row_count: int
    limits: Limits
    max_sequence_length: int | None
    window: Window | None
    cache_dir: Path


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was counted."""

    tokens: TokenStatistics
    event: Literal["measured"] = "measured"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token: its id, what it adds to the text, and whether it is learnt."""

    id: int
    text: str
    supervised: bool


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row as training sees it; the fields of ``tenon.trainer.v1.PreviewedRow``."""

    row: int
    tokens: tuple[ShownToken, ...]
    truncated: bool
    token_count: int
    unlabelled_reason: str


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Rows as training sees them.

    Attributes:
        rows: in order.
        max_sequence_length: what they were cut to.
        uses_plain_template: whether the base has no template of its own.
    """

    rows: tuple[ShownRow, ...]
    max_sequence_length: int
    uses_plain_template: bool
    event: Literal["preview"] = "preview"


Answer = Measured | Preview | Failed

_ANSWER: Final[TypeAdapter[Answer]] = TypeAdapter(Annotated[Answer, Field(discriminator="event")])
_TASK: Final[TypeAdapter[ExamineTask]] = TypeAdapter(ExamineTask)


def encode_answer(answer: Answer) -> bytes:
    """Write an answer as one line of JSON."""
    return _ANSWER.dump_json(answer) + b"\n"


def decode_answer(line: bytes) -> Answer:
    """Read what ``encode_answer`` wrote.

    Raises:
        DomainError: INTERNAL; it is no answer of this version.
    """
    try:
        return _ANSWER.validate_json(line)
    except ValidationError as error:
        raise DomainError(Reason.INTERNAL, "The process that tokenises gave no answer of this version.") from error


def encode_examine_task(task: ExamineTask) -> bytes:
    """Write a task as the content of a task file."""
    return _TASK.dump_json(task)


def decode_examine_task(content: bytes) -> ExamineTask:
    """Read what ``encode_examine_task`` wrote.

    Raises:
        DomainError: INVALID_ARGUMENT; it is no task of this version.
    """
    try:
        return _TASK.validate_json(content)
    except ValidationError as error:
        raise DomainError(Reason.INVALID_ARGUMENT, "The task file is none of this version.") from error
