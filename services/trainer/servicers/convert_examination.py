"""Messages about what a base makes of rows, to and from what the trainer works with."""

from typing import Literal, Protocol

from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import BaseModelName
from services.trainer.catalog.dataset_catalog import Checked, CheckSpec
from services.trainer.datasets.tokens import TokenStatistics
from services.trainer.recipe.labelling.examination import Preview, ShownRow
from services.trainer.servicers.convert import format_from_proto, format_to_proto, statistics_to_proto
from tenon.trainer.v1 import dataset_pb2


class HasLength(Protocol):
    """A message with ``optional int32 max_sequence_length``."""

    @property
    def max_sequence_length(self) -> int: ...

    def HasField(self, field_name: Literal["max_sequence_length"], /) -> bool: ...  # noqa: N802 - protobuf's


def optional_length(message: HasLength) -> int | None:
    """Read a message's max_sequence_length; None where it is left out."""
    return message.max_sequence_length if message.HasField("max_sequence_length") else None


def check_spec_from_proto(request: dataset_pb2.CheckDatasetRequest) -> CheckSpec:
    """Read the first message of a check.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if request.WhichOneof("payload") == "format":
        return CheckSpec(format=format_from_proto(request.format, "format"))
    spec = request.spec
    length = optional_length(spec)
    if length is not None and not spec.base_model:
        text = "it needs a base_model, whose tokens it counts"
        field = "spec.max_sequence_length"
        raise DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])
    return CheckSpec(
        format=format_from_proto(spec.format, "spec.format"),
        base_model=BaseModelName.parse(spec.base_model, "spec.base_model") if spec.base_model else None,
        max_sequence_length=length,
    )


def checked_to_proto(checked: Checked, base_model: BaseModelName | None) -> dataset_pb2.CheckDatasetResponse:
    """Write the end of a check."""
    tokens = tokens_to_proto(checked.tokens, base_model) if checked.tokens and base_model else None
    return dataset_pb2.CheckDatasetResponse(
        statistics=statistics_to_proto(checked.summary.statistics, tokens),
        format=format_to_proto(checked.summary.format),
    )


def tokens_to_proto(tokens: TokenStatistics, base_model: BaseModelName) -> dataset_pb2.TokenStatistics:
    """Write what a base made of rows."""
    return dataset_pb2.TokenStatistics(
        base_model=str(base_model),
        max_sequence_length=tokens.max_sequence_length,
        measured_row_count=tokens.measured_row_count,
        token_count=tokens.token_count,
        kept_token_count=tokens.kept_token_count,
        supervised_token_count=tokens.supervised_token_count,
        supervised_share=tokens.supervised_share,
        truncated_row_count=tokens.truncated_row_count,
        unlabelled_row_count=tokens.unlabelled_row_count,
        refused_row_count=tokens.refused_row_count,
        refusal=tokens.refusal,
        percentiles=[dataset_pb2.TokenPercentile(percent=p.percent, tokens=p.tokens) for p in tokens.percentiles],
        histogram=[
            dataset_pb2.TokenBucket(first=b.first, last=b.last, row_count=b.row_count) for b in tokens.histogram
        ],
        ends_answers=tokens.ends_answers,
        uses_plain_template=tokens.uses_plain_template,
    )


def preview_to_proto(preview: Preview) -> dataset_pb2.PreviewDatasetResponse:
    """Write rows as training sees them."""
    return dataset_pb2.PreviewDatasetResponse(
        rows=map(_row_to_proto, preview.rows),
        max_sequence_length=preview.max_sequence_length,
        uses_plain_template=preview.uses_plain_template,
    )


def _row_to_proto(row: ShownRow) -> dataset_pb2.PreviewedRow:
    return dataset_pb2.PreviewedRow(
        row=row.row,
        tokens=[dataset_pb2.PreviewedToken(id=t.id, text=t.text, supervised=t.supervised) for t in row.tokens],
        truncated=row.truncated,
        token_count=row.token_count,
        unlabelled_reason=row.unlabelled_reason,
    )
