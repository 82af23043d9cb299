"""Prompt and completion: ``{prompt, completion}``, used as they stand, without a chat template."""

from services.common.rows.formats.fields import RowFields
from services.common.rows.model import TextPair


def read(fields: RowFields) -> TextPair:
    """Read a row; an empty prompt is allowed, an empty completion is not."""
    prompt = fields.text(fields.row, "prompt")
    return TextPair(prompt, fields.answer(fields.row, "completion"))
