"""From a data set's file to the rows that are trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from services.trainer.datasets import Conversation, DatasetFormat, TextPair, read_conversations
from services.trainer.recipe.labels import LabelledRow, label_conversation, label_pair
from services.trainer.recipe.templates import render


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of one file, ready for training.

    Attributes:
        rows: those with at least one label.
        skipped: how many had none left.
        truncated: how many of ``rows`` were cut.
        is_chat: whether they were rendered with the chat template.
    """

    rows: tuple[LabelledRow, ...]
    skipped: int
    truncated: int
    is_chat: bool


def label_rows(
    path: Path, layout: DatasetFormat, *, tokenizer: PreTrainedTokenizerFast, template: str, max_length: int
) -> RowSet:
    """Read a checked file and label its rows.

    Raises:
        DomainError: DATASET_INVALID, or NOTHING_TO_LEARN where the template refuses a row.
    """
    labelled = list(_labelled(path, layout, tokenizer, template, max_length))
    rows = tuple(row for row in labelled if row.supervised)
    return RowSet(
        rows=rows,
        skipped=len(labelled) - len(rows),
        truncated=sum(row.truncated for row in rows),
        is_chat=layout is not DatasetFormat.PROMPT_COMPLETION,
    )


def _labelled(
    path: Path, layout: DatasetFormat, tokenizer: PreTrainedTokenizerFast, template: str, max_length: int
) -> Iterator[LabelledRow]:
    for example in read_conversations(path, layout):
        match example:
            case Conversation():
                yield label_conversation(tokenizer, render(tokenizer, template, example), max_length)
            case TextPair(prompt, completion):
                yield label_pair(tokenizer, prompt, completion, max_length)
