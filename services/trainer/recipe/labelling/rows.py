"""From a data set's file to the rows that are trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from services.common.rows.content import Example, content_digest
from services.trainer.datasets import Conversation, DatasetFormat, TextPair, read_conversations
from services.trainer.datasets.split import Origin
from services.trainer.recipe.labelling.labels import LabelledRow, label_conversation, label_pair
from services.trainer.recipe.labelling.templates import render


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of one file, ready for training.

    Attributes:
        rows: those with at least one label.
        origins: what each of ``rows`` says, and what it was made from.
        skipped: how many had none left.
        truncated: how many of ``rows`` were cut.
        is_chat: whether they were rendered with the chat template.
    """

    rows: tuple[LabelledRow, ...]
    origins: tuple[Origin, ...]
    skipped: int
    truncated: int
    is_chat: bool

    def at(self, places: Iterable[int]) -> "RowSet":
        """Take some of the rows, named by their places."""
        kept = tuple(places)
        rows = tuple(self.rows[place] for place in kept)
        return replace(
            self,
            rows=rows,
            origins=tuple(self.origins[place] for place in kept),
            truncated=sum(row.truncated for row in rows),
        )


def label_rows(
    path: Path, layout: DatasetFormat, *, tokenizer: PreTrainedTokenizerFast, template: str, max_length: int
) -> RowSet:
    """Read a checked file and label its rows.

    Raises:
        DomainError: DATASET_INVALID, or NOTHING_TO_LEARN where the template refuses a row.
    """
    labelled = list(_labelled(path, layout, tokenizer, template, max_length))
    learnt = [(row, origin) for row, origin in labelled if row.supervised]
    return RowSet(
        rows=tuple(row for row, _ in learnt),
        origins=tuple(origin for _, origin in learnt),
        skipped=len(labelled) - len(learnt),
        truncated=sum(row.truncated for row, _ in learnt),
        is_chat=layout is not DatasetFormat.PROMPT_COMPLETION,
    )


def label(tokenizer: PreTrainedTokenizerFast, template: str, example: Example, max_length: int) -> LabelledRow:
    """Tokenise one row and label its answers.

    Raises:
        DomainError: NOTHING_TO_LEARN; the template refuses it.
    """
    match example:
        case Conversation():
            return label_conversation(tokenizer, render(tokenizer, template, example), max_length)
        case TextPair(prompt, completion):
            return label_pair(tokenizer, prompt, completion, max_length)


def _labelled(
    path: Path, layout: DatasetFormat, tokenizer: PreTrainedTokenizerFast, template: str, max_length: int
) -> Iterator[tuple[LabelledRow, Origin]]:
    for example in read_conversations(path, layout):
        yield label(tokenizer, template, example, max_length), Origin(content_digest(example), example.source)
