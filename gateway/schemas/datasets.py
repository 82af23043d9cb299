"""What a base makes of a data set: Tenon's own, beside OpenAI's files."""

from typing import Literal

from pydantic import Field

from gateway.schemas.common import MAX_INT32, MAX_INT64, Answered, Query


class Percentile(Answered):
    """So many percent of the rows have at most so many tokens."""

    percent: int
    tokens: int


class Bucket(Answered):
    """Rows of ``first`` to ``last`` tokens."""

    first: int
    last: int
    row_count: int


class Tokens(Answered):
    """What a base's tokenizer and chat template make of rows, as training would."""

    base_model: str
    max_sequence_length: int = Field(description="Tokens that rows are cut to.")
    measured_row_count: int = Field(description="Rows that were tokenised; of a large file a sample.")
    token_count: int
    kept_token_count: int = Field(description="Tokens left after cutting.")
    supervised_token_count: int = Field(description="Tokens among them that are learnt.")
    supervised_share: float
    truncated_row_count: int
    unlabelled_row_count: int = Field(description="Rows left without a label, which training leaves out.")
    refused_row_count: int = Field(description="Rows that the chat template refuses; a job with one of them fails.")
    refusal: str
    percentiles: list[Percentile]
    histogram: list[Bucket]
    ends_answers: bool = Field(description="Whether some answer ends with a token that ends generation.")
    uses_plain_template: bool = Field(description="Whether the base has no chat template.")


class PreviewedToken(Answered):
    """A token."""

    id: int
    text: str = Field(description="What it adds to the text.")
    supervised: bool = Field(description="Whether it is learnt.")


class PreviewedRow(Answered):
    """A row as training sees it."""

    row: int
    tokens: list[PreviewedToken]
    truncated: bool
    token_count: int = Field(description="Tokens before it was cut.")
    unlabelled_reason: str = Field(description="Why nothing of it is learnt; empty if something is.")


class Preview(Answered):
    """Rows as training sees them."""

    object: Literal["dataset.preview"] = "dataset.preview"
    data: list[PreviewedRow]
    max_sequence_length: int
    uses_plain_template: bool


class MeasureQuery(Query):
    """What to measure rows with."""

    base_model: str = Field(max_length=256, description="A base, by its id.")
    max_sequence_length: int | None = Field(
        None, ge=0, le=MAX_INT32, description="Tokens that rows are cut to; left out, what training would choose."
    )


class PreviewQuery(MeasureQuery):
    """Which rows to show."""

    skip: int = Field(0, ge=0, le=MAX_INT64, description="Rows to pass over.")
    limit: int = Field(0, ge=0, le=MAX_INT32, description="At most so many rows; 0 means 5, above 50 means 50.")
