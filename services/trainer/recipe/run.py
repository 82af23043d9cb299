"""One training run, told in order."""

from collections.abc import Sequence

from peft import PeftModel
from torch import nn

from services.common.bases.loader import LoadedBase
from services.common.errors import DomainError, Reason
from services.trainer.recipe import defaults
from services.trainer.recipe.adapter import attach, is_unchanged, trained_parameters
from services.trainer.recipe.artifact import library_versions, save
from services.trainer.recipe.base import RecognisedBase, load_recognised
from services.trainer.recipe.batches import PieceLimits, token_budget
from services.trainer.recipe.checkpoint import identify
from services.trainer.recipe.compute import Compute
from services.trainer.recipe.data import Data, read_data
from services.trainer.recipe.events import Events
from services.trainer.recipe.keeper import Keeper, find_start
from services.trainer.recipe.loop import Fitted, Material, fit
from services.trainer.recipe.loss import SupervisedLoss
from services.trainer.recipe.probe import probe
from services.trainer.recipe.protocol import Finished, RecipeTask, ResolvedHyperparameters, Started
from services.trainer.recipe.targets import find_targets, output_layer


def run(task: RecipeTask, events: Events) -> None:
    """Train the adapter that a task asks for, and tell it in events; the last one is Finished.

    Raises:
        DomainError: why there is no adapter.
        PauseAsked: the run was asked to pause, and is ready to go on later.
    """
    base = load_recognised(task)
    data = read_data(task, base.loaded, events)

    targets = find_targets(base.loaded.model, task.hyperparameters.target_modules)
    plan = _plan(task, base.loaded, data, targets.names)
    head = output_layer(base.loaded.model)
    model = attach(base.loaded.model, targets, plan)
    parameters = trained_parameters(model)
    keeper = _keeper(task, base, data, plan, parameters, events)
    _announce(plan, data, base.compute, keeper, events)

    loss = SupervisedLoss(model, head)
    members = base.compute.members(plan.batch_size) if loss.packs else 1
    limits = _limits(base, packed=loss.packs, members=members)
    material = Material(data.rows, data.validation, limits, base.compute.device, base.compute.threads // members)
    with loss.ready():
        fitted = fit(loss, parameters, material, plan, events, keeper)
    if is_unchanged(model):
        raise _no_effect(plan)

    events.send(_finish(task, base, data, model, fitted))


def _plan(task: RecipeTask, base: LoadedBase, data: Data, target_modules: tuple[str, ...]) -> ResolvedHyperparameters:
    return defaults.resolve(
        task.hyperparameters,
        rows=len(data.rows),
        parameters=base.model.num_parameters(),
        max_sequence_length=data.max_sequence_length,
        target_modules=target_modules,
    )


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


def _announce(
    plan: ResolvedHyperparameters, data: Data, compute: Compute, keeper: Keeper | None, events: Events
) -> None:
    for text in defaults.warnings(len(data.rows), plan):
        events.warn(text)
    events.send(
        Started(
            hyperparameters=plan,
            total_steps=defaults.total_steps(len(data.rows), plan.epochs, plan.batch_size),
            rows=len(data.rows),
            supervised_tokens=data.supervised_tokens,
            compute=compute.describe(),
            resumed_step=keeper.first_step if keeper else 0,
        )
    )


def _limits(base: RecognisedBase, *, packed: bool, members: int) -> PieceLimits:
    config, compute = base.loaded.config.get_text_config(), base.compute
    memory_bytes = compute.activation_bytes // members
    tokens = token_budget(config.hidden_size, config.num_hidden_layers, config.vocab_size, memory_bytes=memory_bytes)
    return PieceLimits(tokens, compute.padding_tokens, packed, members)


def _finish(task: RecipeTask, base: RecognisedBase, data: Data, model: PeftModel, fitted: Fitted) -> Finished:
    """Sum the run up and save the adapter, which is worth nothing until it has shown an effect."""
    shown = probe(model, data.rows)
    return Finished(
        steps=fitted.steps,
        final_loss=fitted.final_loss,
        trained_tokens=fitted.trained_tokens,
        validation_loss=fitted.validation_loss,
        chat_template=data.chat_template,
        stop_token_ids=base.loaded.stop_token_ids,
        peft=save(model, task.base_model, task.output_directory),
        probe=shown,
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
