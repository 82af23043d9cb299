"""Files: what OpenAI's clients call a data set."""

from typing import Literal

from pydantic import Field

from gateway.schemas.common import MAX_INT32, Answered, Cursor, Query
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
