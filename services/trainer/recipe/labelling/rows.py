"""From a data set's file to the rows that are trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from services.trainer.datasets import Conversation, DatasetFormat, TextPair, read_conversations
from services.trainer.datasets.split import Example, content_digest
from services.trainer.recipe.labelling.labels import LabelledRow, label_conversation, label_pair
from services.trainer.recipe.labelling.templates import render


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of one file, ready for training.

    Attributes:
        rows: those with at least one label.
        contents: what each of ``rows`` says, as a digest.
        skipped: how many had none left.
        truncated: how many of ``rows`` were cut.
        is_chat: whether they were rendered with the chat template.
    """

    rows: tuple[LabelledRow, ...]
    contents: tuple[bytes, ...]
    skipped: int
    truncated: int
    is_chat: bool

    def apart(self, contents: Iterable[bytes]) -> "tuple[RowSet, RowSet]":
        """Take the rows with some contents out; gives them, then the others."""
        chosen = frozenset(contents)
        return self._where(chosen, inside=True), self._where(chosen, inside=False)

    def _where(self, chosen: frozenset[bytes], *, inside: bool) -> "RowSet":
        kept = [index for index, content in enumerate(self.contents) if (content in chosen) is inside]
        rows = tuple(self.rows[index] for index in kept)
        return replace(
            self,
            rows=rows,
            contents=tuple(self.contents[index] for index in kept),
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
    learnt = [(row, content) for row, content in labelled if row.supervised]
    return RowSet(
        rows=tuple(row for row, _ in learnt),
        contents=tuple(content for _, content in learnt),
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
) -> Iterator[tuple[LabelledRow, bytes]]:
    for example in read_conversations(path, layout):
        yield label(tokenizer, template, example, max_length), content_digest(example)
