"""The rows of a run: read, rendered with the right template, labelled, and what was left out told."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.bases.loader import LoadedBase
from services.common.errors import DomainError, Reason
from services.trainer.datasets.split import held_out, usual_fraction
from services.trainer.recipe.events import Events
from services.trainer.recipe.labelling.labels import LabelledRow
from services.trainer.recipe.labelling.rows import RowSet, label_rows
from services.trainer.recipe.labelling.templates import plain_template
from services.trainer.recipe.planning.defaults import sequence_length
from services.trainer.recipe.protocol import RecipeTask


@dataclass(frozen=True, slots=True)
class Data:
    """What a run learns and is measured on.

    Attributes:
        rows: to learn; at least one.
        validation: to measure on; may be empty.
        chat_template: what they were rendered with; None if they are prompts and completions.
        max_sequence_length: what they were cut to.
        skipped: rows that were left out because none of their answer is left.
        truncated: rows that were cut.
    """

    rows: Sequence[LabelledRow]
    validation: Sequence[LabelledRow]
    chat_template: str | None
    max_sequence_length: int
    skipped: int = 0
    truncated: int = 0

    @property
    def supervised_tokens(self) -> int:
        """Labels in one pass over the rows to learn."""
        return sum(row.supervised for row in self.rows)


def read_data(task: RecipeTask, base: LoadedBase, events: Events) -> Data:
    """Read the task's files.

    Raises:
        DomainError: NOTHING_TO_LEARN; no row has a label left, or the template refuses a row. DATASET_INVALID.
            INVALID_ARGUMENT; max_sequence_length exceeds the base's context.
    """
    length = sequence_length(task.hyperparameters, base.context_length)
    template = base.chat_template or plain_template(base.tokenizer)
    training = label_rows(
        task.dataset_path, task.dataset_format, tokenizer=base.tokenizer, template=template, max_length=length
    )
    if not training.rows:
        raise _nothing_to_learn(training, length)
    training, validation = _divide(task, training, _given(task, base, template, length, events), events)
    if training.is_chat and base.chat_template is None:
        events.info("The base has no chat template. A plain one is used, and kept with the adapter.")
    return Data(
        training.rows,
        validation.rows,
        template if training.is_chat else None,
        length,
        skipped=training.skipped,
        truncated=training.truncated,
    )


def _given(task: RecipeTask, base: LoadedBase, template: str, length: int, events: Events) -> RowSet | None:
    if task.validation_path is None or task.validation_format is None:
        return None
    validation = label_rows(
        task.validation_path, task.validation_format, tokenizer=base.tokenizer, template=template, max_length=length
    )
    _tell(validation, length, "the validation data set", events)
    return validation


def _divide(task: RecipeTask, training: RowSet, given: RowSet | None, events: Events) -> tuple[RowSet, RowSet]:
    """Part what is learnt from what is measured on, so that no content is on both sides."""
    if given is not None:
        learnt, unseen = given.apart(training.contents)
        if learnt.rows:
            events.warn(
                f"{len(learnt.rows)} rows of the validation data set are left out: the data set has them too, and what "
                "is learnt tells nothing about what is not."
            )
        return training, unseen
    distinct = len(set(training.contents))
    fraction = task.validation_fraction
    if fraction is None:
        fraction = usual_fraction(distinct, has_validation=False)
    validation, rest = training.apart(held_out(training.contents, fraction))
    if validation.rows:
        events.info(
            f"{len(validation.rows)} of {len(training.rows)} rows are held out to measure on ({fraction:g} of the "
            f"{distinct} different ones); set validation_fraction to change that."
        )
    return rest, validation


def _tell(rows: RowSet, length: int, where: str, events: Events) -> None:
    if rows.skipped:
        events.warn(
            f"{rows.skipped} rows of {where} are left out: cut to max_sequence_length ({length} tokens), none of their "
            "answer is left. Raise it or shorten their prompts."
        )
    if rows.truncated:
        events.warn(f"{rows.truncated} rows of {where} are cut to max_sequence_length ({length} tokens).")


def _nothing_to_learn(rows: RowSet, length: int) -> DomainError:
    return DomainError(
        Reason.NOTHING_TO_LEARN,
        f"None of the {rows.skipped} rows has an answer left to learn within {length} tokens. Raise "
        "max_sequence_length, shorten the prompts, or use a base with a longer context.",
        {"rows": str(rows.skipped), "max_sequence_length": str(length)},
    )
