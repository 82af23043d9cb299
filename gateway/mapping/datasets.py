"""What a base makes of a data set."""

from gateway.names import last_part
from gateway.schemas.datasets import Bucket, Percentile, Preview, PreviewedRow, PreviewedToken, Tokens
from tenon.trainer.v1 import dataset_pb2


def tokens_object(tokens: dataset_pb2.TokenStatistics) -> Tokens:
    """Write what a base made of rows."""
    return Tokens(
        base_model=last_part(tokens.base_model),
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
        percentiles=[Percentile(percent=p.percent, tokens=p.tokens) for p in tokens.percentiles],
        histogram=[Bucket(first=b.first, last=b.last, row_count=b.row_count) for b in tokens.histogram],
        ends_answers=tokens.ends_answers,
        uses_plain_template=tokens.uses_plain_template,
    )


def preview_object(preview: dataset_pb2.PreviewDatasetResponse) -> Preview:
    """Write rows as training sees them."""
    return Preview(
        data=[_row(row) for row in preview.rows],
        max_sequence_length=preview.max_sequence_length,
        uses_plain_template=preview.uses_plain_template,
    )


def _row(row: dataset_pb2.PreviewedRow) -> PreviewedRow:
    return PreviewedRow(
        row=row.row,
        tokens=[PreviewedToken(id=t.id, text=t.text, supervised=t.supervised) for t in row.tokens],
        truncated=row.truncated,
        token_count=row.token_count,
        unlabelled_reason=row.unlabelled_reason,
    )
