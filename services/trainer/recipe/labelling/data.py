"""The rows of a run: read, rendered with the right template, labelled, and what was left out told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.common.bases.loader import LoadedBase
from services.common.errors import DomainError, Reason
from services.trainer.datasets.split import genuine, hold_out, keep_apart, usual_fraction
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
        withheld: synthetic rows that are not learnt, because they could tell what is measured.
    """

    rows: Sequence[LabelledRow]
    validation: Sequence[LabelledRow]
    chat_template: str | None
    max_sequence_length: int
    skipped: int = 0
    truncated: int = 0
    withheld: int = 0

    @property
    def supervised_tokens(self) -> int:
        """Labels in one pass over the rows to learn."""
        return sum(row.supervised for row in self.rows)


class Division(NamedTuple):
    """Rows to learn, rows to measure on, and how many synthetic rows are neither."""

    learnt: RowSet
    measured: RowSet
    withheld: int


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
    given = _given(task, base, template, length, events)
    learnt, validation, withheld = _divide(task, training, given, events)
    if not learnt.rows:
        raise _all_withheld(withheld)
    if training.is_chat and base.chat_template is None:
        events.info("The base has no chat template. A plain one is used, and kept with the adapter.")
    return Data(
        learnt.rows,
        validation.rows,
        template if training.is_chat else None,
        length,
        skipped=training.skipped,
        truncated=learnt.truncated,
        withheld=withheld,
    )


def _given(task: RecipeTask, base: LoadedBase, template: str, length: int, events: Events) -> RowSet | None:
    if task.validation_path is None or task.validation_format is None:
        return None
    validation = label_rows(
        task.validation_path, task.validation_format, tokenizer=base.tokenizer, template=template, max_length=length
    )
    _tell(validation, length, "the validation data set", events)
    return validation


def _divide(task: RecipeTask, training: RowSet, given: RowSet | None, events: Events) -> Division:
    """Part what is learnt from what is measured on, so that no content is on both sides, nor anything made from it."""
    if given is None:
        return _hold_out(task.validation_fraction, training, events)
    learnt, measured = keep_apart(training.origins, given.origins)
    common = len(given.rows) - len(measured.measured) - measured.withheld
    if common:
        events.warn(
            f"{common} rows of the validation data set are left out: the data set has them too, and what "
            "is learnt tells nothing about what is not."
        )
    if measured.withheld:
        events.warn(
            f"{measured.withheld} rows of the validation data set are left out: they are synthetic, and measuring on what a "
            "model wrote tells little about what people write."
        )
    if learnt.withheld:
        events.warn(
            f"{learnt.withheld} synthetic rows are not learnt: they were made from rows of the validation data set, or from "
            "other synthetic rows, and would tell what is measured."
        )
    return Division(training.at(learnt.learnt), given.at(measured.measured), learnt.withheld)


def _hold_out(fraction: float | None, training: RowSet, events: Events) -> Division:
    distinct = len(genuine(training.origins))
    if fraction is None:
        fraction = usual_fraction(distinct, has_validation=False)
    parts = hold_out(training.origins, fraction)
    if parts.measured:
        events.info(
            f"{len(parts.measured)} of {len(training.rows)} rows are held out to measure on ({fraction:g} of the "
            f"{distinct} different ones); set validation_fraction to change that."
        )
    if parts.withheld:
        events.warn(
            f"{parts.withheld} synthetic rows are not learnt: the rows they were made from are held out, or are not among "
            "those that are learnt. With validation_fraction 0, or a validation data set, they are."
        )
    return Division(training.at(parts.learnt), training.at(parts.measured), parts.withheld)


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


def _all_withheld(rows: int) -> DomainError:
    return DomainError(
        Reason.NOTHING_TO_LEARN,
        f"All {rows} rows are synthetic, and what they were made from is in the validation data set, so that nothing is "
        "left to learn. Measure on other rows, or add rows to learn.",
        {"rows": str(rows)},
    )
