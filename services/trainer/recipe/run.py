"""One training run, told in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from peft import PeftModel
from torch import nn

from services.common.bases.loader import LoadedBase
from services.common.bases.outline import load_outline
from services.common.errors import DomainError, Reason
from services.common.identity import open_base
from services.common.probe import Probe
from services.common.training_report import TrainingReport
from services.trainer.recipe.events import Events
from services.trainer.recipe.labelling.data import Data, read_data
from services.trainer.recipe.model.adapter import attach, is_unchanged, trained_parameters
from services.trainer.recipe.model.artifact import library_versions, save
from services.trainer.recipe.model.base import RecognisedBase, load_recognised
from services.trainer.recipe.model.targets import Targets, find_targets, output_layer
from services.trainer.recipe.planning.facts import Memory, observe_memory, plan_of
from services.trainer.recipe.planning.findings import of_error
from services.trainer.recipe.planning.plan import refusal
from services.trainer.recipe.protocol import (
    Finished,
    Found,
    Plan,
    Planned,
    RecipeTask,
    ResolvedHyperparameters,
    Started,
)
from services.trainer.recipe.reporting.probe import probe
from services.trainer.recipe.reporting.report import make_report
from services.trainer.recipe.reporting.verdict import loss_curve
from services.trainer.recipe.training.batches import PieceLimits, token_budget
from services.trainer.recipe.training.checkpoint import identify
from services.trainer.recipe.training.compute import Compute, choose_compute
from services.trainer.recipe.training.keeper import Keeper, find_start
from services.trainer.recipe.training.loop import Fitted, Material, fit
from services.trainer.recipe.training.loss import SupervisedLoss


def run(task: RecipeTask, events: Events) -> None:
    """Train the adapter that a task asks for, and tell it in events; the last one is Finished.

    Raises:
        DomainError: why there is no adapter; PLAN_HOPELESS where the plan cannot teach anything and is not forced.
        PauseAsked: the run was asked to pause, and is ready to go on later.
    """
    memory = observe_memory()
    base = load_recognised(task)
    material = _prepare(task, base.loaded, base.compute, memory, events)
    plan, data = material.plan, material.data
    if plan.hopeless and not task.force:
        raise refusal(plan.hopeless)

    model = attach(base.loaded.model, material.targets, plan.hyperparameters)
    # Only now: a head that is trained as a whole is another module.
    head = output_layer(base.loaded.model)
    parameters = trained_parameters(model)
    keeper = _keeper(task, base, data, plan.hyperparameters, parameters, events)
    _announce(plan, base.compute, keeper, events)

    loss, compute = SupervisedLoss(model, head), base.compute
    limits = _limits(base.loaded, compute, plan.hyperparameters.batch_size, packed=loss.packs)
    rows = Material(data.rows, data.validation, limits, compute.device, compute.threads // limits.members)
    with loss.ready():
        fitted = fit(loss, parameters, rows, plan.hyperparameters, events, keeper)
    if is_unchanged(model):
        raise _no_effect(plan.hyperparameters)

    # An adapter is worth nothing until it has shown an effect.
    shown = probe(model, data.rows)
    curve = loss_curve(fitted.losses, fitted.validation_losses)
    report = make_report(model, base.loaded, data, curve, forced=bool(plan.hopeless))
    events.send(_finish(task, base, data, model, fitted, _Seen(shown, report)))


def reckon(task: RecipeTask, events: Events) -> None:
    """Reckon the plan of a task from headers and rows; the last event is Planned.

    Raises:
        DomainError: why there can be no plan.
    """
    memory = observe_memory()
    with open_base(task.base_directory) as opened:
        outline = load_outline(opened)
    compute = choose_compute(task.threads, outline.model.num_parameters())
    try:
        _prepare(task, outline, compute, memory, events)
    except DomainError as error:
        # Of a run, whoever follows it tells the finding, as for every other failure.
        if (finding := of_error(error)) is not None:
            events.send(Found(finding=finding))
        raise


def _keeper(
    task: RecipeTask,
    base: RecognisedBase,
    data: Data,
    plan: ResolvedHyperparameters,
    parameters: Sequence[nn.Parameter],
    events: Events,
) -> Keeper | None:
    if task.checkpoints is None:
        return None
    identity = identify(task.base_fingerprint_id, plan, data.rows, data.validation)
    start = find_start(task.checkpoints, identity, parameters, events)
    compute = base.compute.describe()
    if start is not None and start.compute != compute:
        text = (
            "Training goes on with another processor or number of threads, so losses may differ in their last digits."
        )
        events.info(text)
    return Keeper(task.checkpoints, identity, compute, events, start)


@dataclass(frozen=True, slots=True)
class _Seen:
    probe: Probe
    report: TrainingReport


@dataclass(frozen=True, slots=True)
class _Prepared:
    data: Data
    targets: Targets
    plan: Plan


def _prepare(task: RecipeTask, base: LoadedBase, compute: Compute, memory: Memory, events: Events) -> _Prepared:
    """Read the rows, find the targets, make the plan."""
    data = read_data(task, base, events)
    targets = find_targets(base.model, task.hyperparameters)
    # Whether a base takes packed rows is tried with its weights; on a CPU nearly all do.
    limits = partial(_limits, base, compute, packed=compute.device.type == "cpu")
    plan = plan_of(task.hyperparameters, base, targets, data, compute, limits, memory)
    events.send(Planned(plan=plan))
    return _Prepared(data, targets, plan)


def _announce(plan: Plan, compute: Compute, keeper: Keeper | None, events: Events) -> None:
    events.send(
        Started(
            hyperparameters=plan.hyperparameters,
            total_steps=plan.steps,
            rows=plan.rows,
            supervised_tokens=plan.supervised_tokens,
            compute=compute.describe(),
            resumed_step=keeper.first_step if keeper else 0,
        )
    )


def _limits(base: LoadedBase, compute: Compute, batch_size: int, *, packed: bool) -> PieceLimits:
    config, members = base.config.get_text_config(), compute.members(batch_size) if packed else 1
    memory_bytes = compute.activation_bytes // members
    tokens = token_budget(config.hidden_size, config.num_hidden_layers, config.vocab_size, memory_bytes=memory_bytes)
    return PieceLimits(tokens, compute.padding_tokens, packed, members)


def _finish(
    task: RecipeTask, base: RecognisedBase, data: Data, model: PeftModel, fitted: Fitted, seen: _Seen
) -> Finished:
    """Sum the run up and save the adapter."""
    return Finished(
        steps=fitted.steps,
        final_loss=fitted.final_loss,
        trained_tokens=fitted.trained_tokens,
        validation_loss=fitted.validation_loss,
        chat_template=data.chat_template,
        stop_token_ids=base.loaded.stop_token_ids,
        peft=save(model, task.base_model, task.output_directory),
        probe=seen.probe,
        report=seen.report,
        base_summary=base.fingerprint.summary(),
        library_versions=library_versions(),
        compute=base.compute.describe(),
    )


def _no_effect(plan: ResolvedHyperparameters) -> DomainError:
    return DomainError(
        Reason.ADAPTER_NO_EFFECT,
        f"After training every lora_B is still zero: the adapter changes nothing. The learning rate was "
        f"{plan.learning_rate:g}; raise it, or check that the rows have answers to learn.",
    )
