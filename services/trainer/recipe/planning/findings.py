"""The rules by which a plan is judged, each with what would be better.

Their figures: OpenAI requires ten rows and sees gains from fifty on; a hundred optimizer steps are what a LoRA needs to
show, and a run with less than a quarter of that leaves a base as it was. LoRA has room for about as many tokens as it has
parameters ("LoRA Without Regret").
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from services.common.errors import DomainError, Reason
from services.trainer.recipe.protocol import Finding, ResolvedHyperparameters, Severity

FEW_ROWS: Final = 100
LEAST_ROWS: Final = 10
FEW_STEPS: Final = 100
LEAST_STEPS: Final = 25
MANY_EPOCHS: Final = 25
TIGHT_MEMORY: Final = 0.85
GIB: Final = 1 << 30

LOW_RATE, HIGH_RATE = 1e-5, 1e-2

_ORDER: Final = (Severity.HOPELESS, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the rules look at; see ``Plan`` and ``RowFacts``. ``memory_fixed``: bytes that no smaller batch saves."""

    chosen: ResolvedHyperparameters
    steps: int
    rows: int
    skipped: int
    truncated: int
    end_of_turn: int
    validation: int
    supervised_tokens: int
    lora_parameters: int
    all_linear: bool
    memory_bytes: int
    memory_available: int
    memory_fixed: int
    withheld: int = 0


def find(case: Case) -> Iterator[Finding]:
    """Judge a plan by every rule."""
    chosen = case.chosen
    yield from of_counts(case.rows, chosen.epochs, chosen.batch_size, case.steps)
    yield from _of_rows(case)
    yield from _of_choices(case)
    yield from _of_memory(case)


def most_serious_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In order of severity, else as found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def of_counts(rows: int, epochs: int, batch_size: int, steps: int) -> Iterator[Finding]:
    """What follows from the number of rows and steps alone."""
    if rows < FEW_ROWS:
        few = rows < LEAST_ROWS
        yield Finding(
            severity=Severity.HOPELESS if few else Severity.WARNING,
            code="TOO_FEW_ROWS" if few else "FEW_ROWS",
            text=f"There are only {rows} rows to learn.",
            remedy=f"Gather {FEW_ROWS - rows} more: {FEW_ROWS} are a minimum, 300 are better."
            + (f" Below {LEAST_ROWS} nothing but these rows can be learnt." if few else ""),
        )
    if steps < FEW_STEPS:
        few = steps < LEAST_STEPS
        yield Finding(
            severity=Severity.HOPELESS if few else Severity.WARNING,
            code="TOO_FEW_STEPS" if few else "FEW_STEPS",
            text=f"{rows} rows, {epochs} epochs and a batch of {batch_size} make only {steps} optimizer steps; "
            f"{FEW_STEPS} are needed for an adapter to show.",
            remedy=_reach_steps(rows, epochs, batch_size),
        )
    if epochs > MANY_EPOCHS:
        yield Finding(
            severity=Severity.WARNING,
            code="MANY_EPOCHS",
            text=f"Every row is seen {epochs} times, which teaches it by heart rather than what it stands for.",
            remedy=f"Use at most {MANY_EPOCHS} epochs and more rows, and give validation rows to see it by.",
        )


def _reach_steps(rows: int, epochs: int, batch_size: int) -> str:
    """Ways to a hundred steps: a smaller batch, more epochs, both, or more rows."""
    ways = []
    if batch := rows * epochs // FEW_STEPS:
        ways.append(f"batch_size {batch}")
    more = math.ceil(FEW_STEPS * batch_size / rows)
    if more <= MANY_EPOCHS:
        ways.append(f"epochs {more}")
    if not ways:
        smallest = math.ceil(FEW_STEPS / rows)
        largest = max(1, min(batch_size, rows * MANY_EPOCHS // FEW_STEPS))
        ways.append(f"batch_size 1 with epochs {smallest}")
        if largest > 1:
            ways.append(f"batch_size {largest} with epochs {math.ceil(FEW_STEPS * largest / rows)}")
    needed = math.ceil(FEW_STEPS * batch_size / epochs)
    return f"To reach {FEW_STEPS} steps use {', or '.join(ways)}; as it is, it takes {needed} rows."


def _of_rows(case: Case) -> Iterator[Finding]:
    length = case.chosen.max_sequence_length
    if case.end_of_turn == 0:
        yield Finding(
            severity=Severity.HOPELESS,
            code="NO_END_OF_TURN",
            text="No answer ends with a token that ends generation, so the adapter would never learn to stop and its "
            "answers run on until max_tokens.",
            remedy=f"Raise max_sequence_length ({length}) if answers are cut by it; else use a base whose chat template "
            "or tokenizer has an end-of-turn token."
            if case.truncated
            else "Use a base whose chat template or tokenizer has an end-of-turn token.",
        )
    if case.skipped:
        yield Finding(
            severity=Severity.WARNING,
            code="ROWS_LEFT_OUT",
            text=f"{case.skipped} of {case.rows + case.skipped} rows are left out: cut to {length} tokens, none of their "
            "answer is left.",
            remedy="Raise max_sequence_length or shorten their prompts.",
        )
    if case.truncated:
        yield Finding(
            severity=Severity.WARNING,
            code="ROWS_CUT",
            text=f"{case.truncated} of {case.rows} rows are cut to {length} tokens and never show how their answer ends.",
            remedy="Raise max_sequence_length or shorten these rows.",
        )
    if case.withheld:
        yield Finding(
            severity=Severity.INFO,
            code="SYNTHETIC_ROWS_WITHHELD",
            text=f"{case.withheld} synthetic rows are not learnt: what they were made from is measured on, or is not among "
            f"the rows.",
            remedy="To learn them, measure on other rows: give a validation data set, or a validation_fraction of 0.",
        )
    if case.validation == 0:
        yield Finding(
            severity=Severity.INFO,
            code="NO_VALIDATION",
            text="There are no validation rows, so what was learnt is measured on rows that were trained on.",
            remedy="Give a validation data set of 10 rows or more.",
        )
    if case.validation == 0 and case.chosen.early_stopping_patience:
        yield Finding(
            severity=Severity.WARNING,
            code="NO_EARLY_STOPPING",
            text="There are no validation rows, so training cannot stop early: early_stopping_patience has no effect.",
            remedy="Give a validation data set, or a validation_fraction.",
        )


def _of_choices(case: Case) -> Iterator[Finding]:
    chosen = case.chosen
    if case.lora_parameters < case.supervised_tokens:
        rank = math.ceil(chosen.lora_rank * case.supervised_tokens / max(1, case.lora_parameters))
        yield Finding(
            severity=Severity.WARNING,
            code="SMALL_CAPACITY",
            text=f"The adapter has {case.lora_parameters:,} parameters for {case.supervised_tokens:,} supervised tokens; "
            "it cannot hold them all.",
            remedy=f"Use lora_rank {rank}" + ("." if case.all_linear else ", or adapt every linear layer."),
        )
    if not case.all_linear:
        yield Finding(
            severity=Severity.INFO,
            code="NOT_ALL_LINEAR_LAYERS",
            text=f"Only {', '.join(chosen.target_modules)} get an adapter.",
            remedy="All linear layers learn better, at an equal number of parameters too: leave target_modules out.",
        )
    if not LOW_RATE <= chosen.learning_rate <= HIGH_RATE:
        yield Finding(
            severity=Severity.WARNING,
            code="UNUSUAL_LEARNING_RATE",
            text=f"A learning rate of {chosen.learning_rate:g} is unusual for LoRA.",
            remedy="Use 1e-4 to 1e-3.",
        )


def _of_memory(case: Case) -> Iterator[Finding]:
    needed, available = case.memory_bytes, case.memory_available
    if not available or needed <= TIGHT_MEMORY * available:
        return
    fits = needed <= available
    yield Finding(
        severity=Severity.WARNING if fits else Severity.HOPELESS,
        code="MEMORY_TIGHT" if fits else "MEMORY_TOO_SMALL",
        text=f"Training takes about {needed / GIB:.1f} GiB of memory, and there are {available / GIB:.1f} GiB.",
        remedy=_save_memory(case),
    )


def _save_memory(case: Case) -> str:
    if case.memory_fixed > case.memory_available:
        return (
            f"The base, its adapter and the libraries alone take {case.memory_fixed / GIB:.1f} GiB: use a smaller base, "
            "or a machine with more memory."
        )
    share = (TIGHT_MEMORY * case.memory_available - case.memory_fixed) / max(1, case.memory_bytes - case.memory_fixed)
    length = max(16, int(case.chosen.max_sequence_length * max(0.0, share)))
    return f"Lower max_sequence_length to {length}, or free memory."


def of_error(error: DomainError) -> Finding | None:
    """The finding that explains why a training cannot be, or could not go on; None for errors that say all there is to say."""
    code = _ERRORS.get(error.reason)
    if error.reason is Reason.INVALID_ARGUMENT and "max_sequence_length" in error.message:
        code = "SEQUENCE_ABOVE_CONTEXT"
    return None if code is None else Finding(severity=Severity.HOPELESS, code=code, text=error.message)


_ERRORS: Final = {
    Reason.NOTHING_TO_LEARN: "NOTHING_SUPERVISED",
    Reason.TARGET_MODULES_NOT_FOUND: "UNKNOWN_TARGET_MODULES",
    Reason.BASE_FINGERPRINT_MISMATCH: "BASE_CHANGED",
    Reason.TRAINING_DIVERGED: "DIVERGED",
    Reason.ADAPTER_NO_EFFECT: "NO_EFFECT",
    Reason.OUT_OF_MEMORY: "OUT_OF_MEMORY",
    Reason.DATA_DIRECTORY_UNUSABLE: "DISK_FULL",
}
