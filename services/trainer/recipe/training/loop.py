"""The training loop."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from services.common.errors import DomainError, Reason
from services.trainer.recipe.events import Events
from services.trainer.recipe.labelling.labels import LabelledRow
from services.trainer.recipe.planning.defaults import total_steps
from services.trainer.recipe.planning.resident import peak_resident_bytes
from services.trainer.recipe.protocol import ResolvedHyperparameters, Step
from services.trainer.recipe.training.batches import MicroBatch, PieceLimits, batches, micro_batches
from services.trainer.recipe.training.checkpoint import Position
from services.trainer.recipe.training.gradient import accumulate, mean_loss
from services.trainer.recipe.training.keeper import Keeper
from services.trainer.recipe.training.loss import SupervisedLoss
from services.trainer.recipe.training.schedule import rate_factor, warmup_steps
from services.trainer.recipe.training.team import Team

VALIDATIONS: Final = 10
"""How often a run is measured on its validation rows, at most."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns and is measured on.

    Attributes:
        rows: to learn.
        validation: to measure on; may be empty.
        limits: of a micro-batch.
        device: where the model is.
        threads: of an operation of each member of the team.
    """

    rows: Sequence[LabelledRow]
    validation: Sequence[LabelledRow]
    limits: PieceLimits
    device: torch.device
    threads: int = 1

    def cut(self, rows: Sequence[LabelledRow]) -> list[MicroBatch]:
        """Make micro-batches of rows."""
        return [batch.to(self.device) for batch in micro_batches(rows, self.limits)]


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a run went, from its very first step on.

    Attributes:
        steps: optimizer steps done.
        final_loss: loss of the last step.
        trained_tokens: supervised tokens seen.
        validation_loss: loss on the validation rows after the last step, or None without such rows.
        losses: of every step.
        validation_losses: of every step after which it was measured.
    """

    steps: int
    final_loss: float
    trained_tokens: int
    validation_loss: float | None
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]


def fit(
    loss: SupervisedLoss,
    parameters: list[nn.Parameter],
    material: Material,
    plan: ResolvedHyperparameters,
    events: Events,
    keeper: Keeper | None = None,
) -> Fitted:
    """Train: one optimizer step per batch, its loss the mean over the batch's labels however it is cut.

    Args:
        loss: of the adapted model.
        parameters: to move.
        material: rows and how to cut them.
        plan: hyperparameters.
        events: gets a Step per optimizer step.
        keeper: knows where to go on, and writes checkpoints.

    Raises:
        DomainError: TRAINING_DIVERGED; a loss, a gradient or what came of the last step is NaN or infinite.
        PauseAsked: the run shall end here, and go on later.
    """
    steps = total_steps(len(material.rows), plan.epochs, plan.batch_size)
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)
    validation = material.cut(material.validation)
    done = keeper.restore(parameters, optimizer) if keeper else Position()
    with Team(material.limits.members, material.threads) as team:
        for step, rate, rows in islice(_steps(material, plan, steps), done.step, None):
            began = time.perf_counter()
            pieces = material.cut(rows)
            _set_rate(optimizer, rate)
            value, norm = take_step(loss, pieces, parameters, optimizer, step, team, plan.max_gradient_norm)
            speed = sum(piece.tokens for piece in pieces) / (time.perf_counter() - began)
            done.add(step, len(rows), sum(len(piece.targets) for piece in pieces), value)
            if validation and _is_measured(step, steps):
                done.measure(mean_loss(loss, validation, team))
            events.send(_told(done, steps, len(material.rows), rate=rate, norm=norm, speed=speed))
            if 0 < plan.early_stopping_patience <= done.measured_in_vain:
                events.info(_stopped(step, steps, done))
                break
            if keeper and step < steps:
                keeper.after_step(done, parameters, optimizer)
    # Of every other step, the next one's loss tells.
    if not all(parameter.isfinite().all() for parameter in parameters):
        raise _diverged(done.step, done.losses[-1], math.nan)
    return Fitted(
        done.step,
        done.losses[-1],
        done.trained_tokens,
        done.validation_loss,
        tuple(done.losses),
        tuple(done.validation_losses),
    )


def take_step(
    loss: SupervisedLoss,
    pieces: Sequence[MicroBatch],
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
    team: Team,
    max_gradient_norm: float,
) -> tuple[float, float]:
    """Do one optimizer step.

    Returns:
        The mean loss over the batch's labels, and the norm of its gradient before clipping.

    Raises:
        DomainError: TRAINING_DIVERGED.
    """
    value = accumulate(loss, pieces, parameters, team)
    norm = clip_grad_norm_(parameters, max_gradient_norm, foreach=True).item()
    if not math.isfinite(value) or not math.isfinite(norm):
        raise _diverged(step, value, norm)
    optimizer.step()
    optimizer.zero_grad()
    return value, norm


def _told(done: Position, steps: int, rows: int, *, rate: float, norm: float, speed: float) -> Step:
    """The last step's figures."""
    return Step(
        step=done.step,
        total_steps=steps,
        loss=done.losses[-1],
        learning_rate=rate,
        gradient_norm=norm,
        tokens_per_second=speed,
        epoch=done.rows / rows,
        trained_tokens=done.trained_tokens,
        validation_loss=done.validation_loss,
        memory_bytes=peak_resident_bytes(),
    )


def _steps(
    material: Material, plan: ResolvedHyperparameters, steps: int
) -> Iterator[tuple[int, float, list[LabelledRow]]]:
    """Yield each step's number, learning rate and rows."""
    warmup = warmup_steps(steps, plan.warmup_ratio)
    order = batches(len(material.rows), plan.batch_size, plan.epochs, plan.seed)
    for index, batch in enumerate(order):
        rate = plan.learning_rate * rate_factor(index, steps, warmup, plan.schedule)
        yield index + 1, rate, [material.rows[row] for row in batch]


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _is_measured(step: int, steps: int) -> bool:
    return step == steps or step % max(1, math.ceil(steps / VALIDATIONS)) == 0


def _stopped(step: int, steps: int, done: Position) -> str:
    return (
        f"Training stops after step {step} of {steps}: the loss on held-out rows has not been better than "
        f"{min(done.validation_losses):.4f} for {done.measured_in_vain} measurements."
    )


def _diverged(step: int, value: float, norm: float) -> DomainError:
    return DomainError(
        Reason.TRAINING_DIVERGED,
        f"Training diverged at step {step}: the loss is {value}, the gradient's norm {norm}. Lower the learning rate.",
        {"step": str(step), "loss": str(value), "gradient_norm": str(norm)},
    )
