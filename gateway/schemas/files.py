"""Files: what OpenAI's clients call a data set."""

from typing import Literal

from pydantic import Field, RootModel

from gateway.schemas.common import MAX_INT32, Answered, Cursor, Query, is_none
from gateway.schemas.datasets import Tokens

FormatName = Literal["alpaca", "sharegpt", "openai_chat", "prompt_completion"]


class Statistics(Answered):
    """Counts over a data set."""

    row_count: int
    faulty_row_count: int
    duplicate_row_count: int
    answer_count: int
    answer_characters: int
    synthetic_row_count: int = Field(description="Rows that were made from others, as their key synthetic_of says.")
    tokens: Tokens | None = Field(None, description="What a base makes of the rows, where one is named.")


class RowFault(Answered):
    """What is wrong with a row."""

    line: int = Field(description="Where the row begins, from 1; in Parquet the row.")
    row: int = Field(description="Which row, from 1; 0 where the whole file is at fault.")
    field: str = Field(description="Which field of it; empty where it is the whole row.")
    reason: str = Field(description="What is wrong, for people.")


class CheckSummary(Statistics):
    """What a check has found out about a whole file."""

    format: str = Field(description="The rows' layout; empty where it could not be told.")
    tokens: Tokens | None = Field(
        None, exclude_if=is_none, description="What a base makes of the rows; left out where none is named."
    )


class FaultLine(Answered):
    """A line of a check: a fault."""

    fault: RowFault


class SummaryLine(Answered):
    """The last line of a check."""

    summary: CheckSummary


class CheckLine(RootModel[FaultLine | SummaryLine]):
    """JSON lines: each fault in one of its own, and at the end the summary."""


class FileExtension(Answered):
    """What is ours about a file."""

    format: str
    sha256: str
    statistics: Statistics


class FileObject(Answered):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    expires_at: int | None = None
    status_details: str | None = None
    tenon: FileExtension


class FileDeleted(Answered):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FileCursor(Cursor):
    """Which files to list."""

    limit: int = Field(100, ge=1, le=10_000, description="At most so many.")
    purpose: str | None = Field(None, max_length=64, description="Only files of this purpose; all are fine-tune.")
    order: Literal["asc", "desc"] = Field("desc", description="desc is newest first.")


class CheckQuery(Query):
    """How to check a file."""

    format: FormatName | None = Field(None, description="Its rows' layout; left out, it is detected.")
    base_model: str | None = Field(None, max_length=256, description="A base, by its id, to count tokens with.")
    max_sequence_length: int | None = Field(
        None, ge=0, le=MAX_INT32, description="Tokens that rows are cut to; needs base_model."
    )
