"""The plan: what a training will be, whether it can teach anything, and what would. Pure rules, no torch.

Its facts are gathered by ``facts``; what is asked for is resolved by ``defaults``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from services.common.errors import DomainError, Reason, Violation
from services.trainer.recipe.planning import defaults
from services.trainer.recipe.planning.duration import Speed, reckon
from services.trainer.recipe.planning.findings import Case, find, most_serious_first, of_counts
from services.trainer.recipe.planning.memory import LargestPiece, ModelShape, estimate
from services.trainer.recipe.protocol import Finding, Plan, RecipeHyperparameters, ResolvedHyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """The layers that get an adapter: their names' last parts, how many they are, and the sum of in + out over them."""

    names: tuple[str, ...]
    count: int
    widths: int
    all_linear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What the rows are, as tokens.

    Attributes:
        lengths: tokens of each row that is learnt.
        supervised: of these, those that are learnt.
        skipped: rows left out because nothing of their answer is left.
        truncated: rows that were cut.
        end_of_turn: rows whose last learnt token ends an answer.
        validation: rows to measure on.
    """

    lengths: Sequence[int]
    supervised: Sequence[int]
    skipped: int
    truncated: int
    end_of_turn: int
    validation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What it runs on.

    Attributes:
        compute: device, dtype and threads, for people.
        speed: how fast it multiplies.
        runtime_bytes: see ``memory.estimate``.
        available_bytes: memory that a training could get, what this process holds already included; 0 if unknown.
        largest_piece: the largest micro-batch of a run with these choices.
    """

    compute: Mapping[str, JsonValue]
    speed: Speed
    runtime_bytes: int
    available_bytes: int
    largest_piece: Callable[[ResolvedHyperparameters], LargestPiece]


def make_plan(
    asked: RecipeHyperparameters,
    *,
    shape: ModelShape,
    targets: TargetFacts,
    rows: RowFacts,
    machine: MachineFacts,
    max_sequence_length: int,
) -> Plan:
    """Reckon a plan.

    Args:
        asked: hyperparameters as asked for.
        shape: of the base.
        targets: that get an adapter.
        rows: at least one.
        machine: that it is reckoned for.
        max_sequence_length: what rows were cut to.
    """
    chosen = defaults.resolve(
        asked,
        rows=len(rows.lengths),
        parameters=shape.parameters,
        max_sequence_length=max_sequence_length,
        target_modules=targets.names,
    )
    steps = defaults.total_steps(len(rows.lengths), chosen.epochs, chosen.batch_size)
    lora = chosen.lora_rank * targets.widths
    memory = estimate(
        shape,
        machine.largest_piece(chosen),
        lora_parameters=lora,
        targets=targets.count,
        rank=chosen.lora_rank,
        data_tokens=sum(rows.lengths),
        runtime=machine.runtime_bytes,
    )
    seconds, basis = reckon(
        machine.speed,
        shape,
        tokens=chosen.epochs * sum(rows.lengths),
        supervised=chosen.epochs * sum(rows.supervised),
        steps=steps,
        targets=targets.count,
    )
    case = Case(
        chosen=chosen,
        steps=steps,
        rows=len(rows.lengths),
        skipped=rows.skipped,
        truncated=rows.truncated,
        end_of_turn=rows.end_of_turn,
        validation=rows.validation,
        supervised_tokens=sum(rows.supervised),
        lora_parameters=lora,
        all_linear=targets.all_linear,
        memory_bytes=sum(memory.values()),
        memory_available=machine.available_bytes,
        memory_fixed=sum(memory[part] for part in ("runtime", "weights", "adapter_and_optimizer", "rows")),
    )
    return Plan(
        hyperparameters=chosen,
        steps=steps,
        rows=len(rows.lengths),
        validation_rows=rows.validation,
        tokens=sum(rows.lengths),
        supervised_tokens=sum(rows.supervised),
        base_parameters=shape.parameters,
        lora_parameters=lora,
        memory=memory,
        memory_available=machine.available_bytes,
        seconds=seconds,
        seconds_basis=basis,
        compute=machine.compute,
        findings=most_serious_first(find(case)),
    )


SHOWN: Final = 3


def refusal(hopeless: Sequence[Finding]) -> DomainError:
    """Why a hopeless plan is not carried out."""
    told = " ".join(finding.sentence for finding in hopeless[:SHOWN])
    return DomainError(
        Reason.PLAN_HOPELESS,
        f"This training cannot teach anything. {told} To train all the same, set force.",
        {"findings": ",".join(finding.code for finding in hopeless)},
        violations=[Violation(field_of(finding), finding.sentence) for finding in hopeless],
    )


def field_of(finding: Finding) -> str:
    """The field of a job that a finding is about."""
    return _FIELDS.get(finding.code, "training_job.dataset")


_FIELDS: Final[Mapping[str, str]] = {
    "TOO_FEW_STEPS": "training_job.hyperparameters.batch_size",
    "MEMORY_TOO_SMALL": "training_job.hyperparameters.batch_size",
    "UNKNOWN_TARGET_MODULES": "training_job.hyperparameters.target_modules",
    "SEQUENCE_ABOVE_CONTEXT": "training_job.hyperparameters.max_sequence_length",
}


def from_counts(rows: int, asked: RecipeHyperparameters) -> tuple[Finding, ...]:
    """What can be said of a plan before anything is tokenised, from the number of rows alone."""
    if rows == 0:
        return ()
    epochs = asked.epochs or defaults.epochs_for(rows)
    batch = asked.batch_size or defaults.batch_for(rows * epochs)
    steps = defaults.total_steps(rows, epochs, batch)
    return most_serious_first(of_counts(rows, epochs, batch, steps))
