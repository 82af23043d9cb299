"""``python -m services.trainer.recipe.labelling.examine TASK_FILE``: rows tokenised and labelled as training does, and no training.

The answer is one line of JSON on standard output. Needs the tokenizer of a base and nothing of its weights: no torch. A
process of its own all the same, because templates and tokenizers come from anyone and may take their time.
"""

import os
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transformers import PreTrainedTokenizerFast

from services.common.bases.text import load_text
from services.common.errors import DomainError, Reason
from services.common.identity import DigestCache, OpenBase, open_base
from services.common.rows.content import Example
from services.trainer.datasets import DatasetFormat, good_rows
from services.trainer.datasets.tokens import TokenStatistics, histogram, percentiles
from services.trainer.jobs.admission import context_of
from services.trainer.recipe.labelling.examination import (
    Answer,
    ExamineTask,
    Measured,
    Preview,
    ShownRow,
    ShownToken,
    Window,
    decode_examine_task,
    encode_answer,
)
from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow
from services.trainer.recipe.labelling.rows import label
from services.trainer.recipe.labelling.templates import plain_template
from services.trainer.recipe.planning.defaults import sequence_length
from services.trainer.recipe.protocol import Failed, RecipeHyperparameters

MOST_MEASURED: Final = 10_000
"""Rows that are tokenised; of more rows every n-th is. Percentiles of so many are exact to half a percent."""

MEASURE_SECONDS: Final = 60.0
"""How long rows are measured at most."""

MOST_SHOWN_TOKENS: Final = 65_536
"""Tokens after which no further row is shown."""

MOST_PENDING: Final = 8
"""Tokens that may make one character: more are no character."""

DEFAULT_CONTEXT: Final = 2048
"""As the loader has it, for architectures whose positions have no end."""

_UNCUT: Final = sys.maxsize


@dataclass(frozen=True, slots=True)
class Labeller:
    """A base's way with rows, as training takes it.

    Attributes:
        tokenizer: the base's.
        template: its chat template, or the plain one.
        is_plain: whether it is the plain one.
        stop_token_ids: tokens that end an answer.
        length: tokens that rows are cut to.
    """

    tokenizer: PreTrainedTokenizerFast
    template: str
    is_plain: bool
    stop_token_ids: tuple[int, ...]
    length: int

    def whole(self, example: Example) -> LabelledRow:
        """Label a row without cutting it.

        Raises:
            DomainError: NOTHING_TO_LEARN; the template refuses it.
        """
        return label(self.tokenizer, self.template, example, _UNCUT)


def open_labeller(task: ExamineTask) -> Labeller:
    """Open the task's base and take its tokenizer.

    Raises:
        DomainError: BASE_FINGERPRINT_MISMATCH; BASE_NOT_SUPPORTED; INVALID_ARGUMENT: max_sequence_length exceeds the
            context.
    """
    with open_base(task.base_directory) as opened:
        _recognise(task, opened)
        text = load_text(opened)
        length = sequence_length(
            RecipeHyperparameters(max_sequence_length=task.max_sequence_length),
            context_of(opened.config) or DEFAULT_CONTEXT,
        )
    # Prompts and completions are rendered with no template, so it does not matter then that the base has none.
    is_plain = text.chat_template is None and task.dataset_format is not DatasetFormat.PROMPT_COMPLETION
    template = text.chat_template or plain_template(text.tokenizer)
    return Labeller(text.tokenizer, template, is_plain, text.stop_token_ids, length)


def measure(task: ExamineTask, labeller: Labeller) -> Measured:
    """Tokenise the rows, or every n-th of many, and count."""
    lengths, refusal = array("q"), ""
    kept = supervised = truncated = unlabelled = refused = 0
    ends_answers = False
    for example in _sample(task):
        try:
            whole = labeller.whole(example)
        except DomainError as error:
            refused, refusal = refused + 1, refusal or error.message
            continue
        row = whole.cut(labeller.length)
        lengths.append(len(whole.token_ids))
        kept += len(row.token_ids)
        supervised += row.supervised
        truncated += row.truncated
        unlabelled += not row.supervised
        ends_answers = ends_answers or bool(row.supervised and row.last_learnt in labeller.stop_token_ids)
    return Measured(
        tokens=TokenStatistics(
            max_sequence_length=labeller.length,
            measured_row_count=len(lengths) + refused,
            token_count=sum(lengths),
            kept_token_count=kept,
            supervised_token_count=supervised,
            truncated_row_count=truncated,
            unlabelled_row_count=unlabelled,
            refused_row_count=refused,
            refusal=refusal,
            percentiles=percentiles(lengths),
            histogram=histogram(lengths),
            ends_answers=ends_answers,
            uses_plain_template=labeller.is_plain,
        )
    )


def preview(task: ExamineTask, window: Window, labeller: Labeller) -> Preview:
    """Show the rows of a window."""
    shown: list[ShownRow] = []
    tokens = 0
    for index, (number, example) in enumerate(good_rows(task.dataset_path, task.dataset_format, task.limits)):
        if index < window.skip:
            continue
        if len(shown) == window.limit or tokens > MOST_SHOWN_TOKENS:
            break
        shown.append(_show(number, example, labeller))
        tokens += len(shown[-1].tokens)
    return Preview(rows=tuple(shown), max_sequence_length=labeller.length, uses_plain_template=labeller.is_plain)


def _show(number: int, example: Example, labeller: Labeller) -> ShownRow:
    try:
        whole = labeller.whole(example)
    except DomainError as error:
        return ShownRow(row=number, tokens=(), truncated=False, token_count=0, unlabelled_reason=error.message)
    row = whole.cut(labeller.length)
    texts = token_texts(labeller.tokenizer, row.token_ids)
    pairs = zip(row.token_ids, texts, row.labels, strict=True)
    return ShownRow(
        row=number,
        tokens=tuple(ShownToken(token, text, learnt != IGNORED) for token, text, learnt in pairs),
        truncated=row.truncated,
        token_count=len(whole.token_ids),
        unlabelled_reason=_why_unlabelled(whole, row, labeller.length),
    )


def _why_unlabelled(whole: LabelledRow, row: LabelledRow, length: int) -> str:
    if row.supervised:
        return ""
    if whole.supervised:
        return (
            f"Its answer begins at token {whole.prompt_length + 1} and the row is cut to {length}. Raise "
            f"max_sequence_length above {whole.prompt_length}, or shorten the prompt."
        )
    return "The base's chat template writes nothing of its answer. Change the row to what the template takes."


def token_texts(tokenizer: PreTrainedTokenizerFast, ids: "array[int]") -> Iterator[str]:
    """Yield what each token adds to the text; of a character in several tokens all is told with the last."""
    pending: list[int] = []
    for token in ids:
        pending.append(token)
        text = str(tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if text.endswith("\ufffd") and len(pending) < MOST_PENDING:
            yield ""
            continue
        yield text
        pending.clear()


def _sample(task: ExamineTask) -> Iterator[Example]:
    step = max(1, -(-task.row_count // MOST_MEASURED))
    end = time.monotonic() + MEASURE_SECONDS
    for index, (_, example) in enumerate(good_rows(task.dataset_path, task.dataset_format, task.limits)):
        if time.monotonic() > end:
            return
        if index % step == 0:
            yield example


def _recognise(task: ExamineTask, opened: OpenBase) -> None:
    found = opened.fingerprint(cache=DigestCache(task.cache_dir))
    if found.id != task.base_fingerprint_id:
        raise DomainError(
            Reason.BASE_FINGERPRINT_MISMATCH,
            f"The files of {task.base_model} are not those that were registered: their fingerprint is {found.id[:12]}…, "
            f"expected was {task.base_fingerprint_id[:12]}…. Restore the files, or add them as a base of their own.",
            {"expected_id": task.base_fingerprint_id, "actual_id": found.id},
        )


def examine(task: ExamineTask) -> Answer:
    """Do a task.

    Raises:
        DomainError: why there is no answer.
    """
    labeller = open_labeller(task)
    return measure(task, labeller) if task.window is None else preview(task, task.window, labeller)


def main(task_file: str) -> int:
    """Do the task of a file."""
    # Whatever a library prints goes to standard error.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer: Answer
    try:
        answer = examine(decode_examine_task(Path(task_file).read_bytes()))
    except DomainError as error:
        answer = Failed(reason=error.reason, message=error.message, metadata=error.metadata)
    with os.fdopen(answers, "wb") as output:
        output.write(encode_answer(answer))
    return int(isinstance(answer, Failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
