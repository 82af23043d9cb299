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
class TargetLayer:
    """A layer that gets an adapter: its sizes, and its rank where that is not the adapter's."""

    inputs: int
    outputs: int
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What is trained.

    Attributes:
        names: what the layers that get an adapter are called by.
        layers: they themselves.
        all_linear: whether they are all there are, but for the head.
        saved_parameters: of modules that are trained as a whole.
    """

    names: tuple[str, ...]
    layers: Sequence[TargetLayer]
    all_linear: bool
    saved_parameters: int = 0

    def ranks(self, chosen: ResolvedHyperparameters) -> list[int]:
        """The rank of each layer."""
        return [layer.rank or chosen.lora_rank for layer in self.layers]

    def lora_parameters(self, chosen: ResolvedHyperparameters) -> int:
        """Every A and B, and with DoRA a length for each output."""
        pairs = zip(self.layers, self.ranks(chosen), strict=True)
        matrices = sum(rank * (layer.inputs + layer.outputs) for layer, rank in pairs)
        return matrices + self.scaled(chosen)

    def scaled(self, chosen: ResolvedHyperparameters) -> int:
        """Outputs that get a length of their own, which only DoRA learns."""
        return sum(layer.outputs for layer in self.layers) if chosen.use_dora else 0


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
        withheld: synthetic rows that are not learnt, because they could tell what is measured.
    """

    lengths: Sequence[int]
    supervised: Sequence[int]
    skipped: int
    truncated: int
    end_of_turn: int
    validation: int
    withheld: int = 0


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
    return _plan_of(chosen, shape, targets, rows, machine)


def _plan_of(
    chosen: ResolvedHyperparameters, shape: ModelShape, targets: TargetFacts, rows: RowFacts, machine: MachineFacts
) -> Plan:
    steps = defaults.total_steps(len(rows.lengths), chosen.epochs, chosen.batch_size)
    lora = targets.lora_parameters(chosen)
    memory = estimate(
        shape,
        machine.largest_piece(chosen),
        trained_parameters=lora + targets.saved_parameters,
        ranks=sum(targets.ranks(chosen)),
        scaled=targets.scaled(chosen),
        data_tokens=sum(rows.lengths),
        runtime=machine.runtime_bytes,
    )
    seconds, basis = reckon(
        machine.speed,
        shape,
        tokens=chosen.epochs * sum(rows.lengths),
        supervised=chosen.epochs * sum(rows.supervised),
        steps=steps,
        targets=len(targets.layers),
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
        saved_parameters=targets.saved_parameters,
        memory=memory,
        memory_available=machine.available_bytes,
        seconds=seconds,
        seconds_basis=basis,
        compute=machine.compute,
        findings=most_serious_first(find(_case(chosen, steps, targets, rows, memory, machine.available_bytes))),
    )


def _case(
    chosen: ResolvedHyperparameters,
    steps: int,
    targets: TargetFacts,
    rows: RowFacts,
    memory: Mapping[str, int],
    available: int,
) -> Case:
    return Case(
        chosen=chosen,
        steps=steps,
        rows=len(rows.lengths),
        skipped=rows.skipped,
        truncated=rows.truncated,
        end_of_turn=rows.end_of_turn,
        validation=rows.validation,
        withheld=rows.withheld,
        supervised_tokens=sum(rows.supervised),
        lora_parameters=targets.lora_parameters(chosen) + targets.saved_parameters,
        all_linear=targets.all_linear,
        memory_bytes=sum(memory.values()),
        memory_available=available,
        memory_fixed=sum(memory[part] for part in ("runtime", "weights", "adapter_and_optimizer", "rows")),
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
