"""The loop on a tiny base: it learns, tells each step, repeats exactly, and stops where it must."""

import io
import math
from typing import Any

import pytest
import torch

from services.common.errors import DomainError, Reason
from services.trainer.recipe.events import Events
from services.trainer.recipe.model.adapter import attach, is_unchanged, trained_parameters
from services.trainer.recipe.model.targets import find_targets, output_layer
from services.trainer.recipe.protocol import RecipeHyperparameters, Schedule, Step, decode
from services.trainer.recipe.reporting.probe import probe
from services.trainer.recipe.training.batches import PieceLimits
from services.trainer.recipe.training.gradient import mean_loss
from services.trainer.recipe.training.loop import Fitted, Material, fit
from services.trainer.recipe.training.loss import SupervisedLoss
from services.trainer.recipe.training.team import Team
from tests.unit.recipe.conftest import Load, labelled, make_plan

ROWS = labelled(([5, 6, 7, 8], 2), ([9, 10, 11], 1), ([12, 13, 14, 15, 16], 3))


def train(
    load: Load, budget: int = 1000, validation: Any = (), members: int = 1, **changes: Any
) -> tuple[Any, Fitted, list[Step]]:
    base = load()
    plan = make_plan(**changes)
    head = output_layer(base.model)
    model = attach(base.model, find_targets(base.model, RecipeHyperparameters()), plan)
    stream = io.StringIO()
    loss = SupervisedLoss(model, head)
    limits = PieceLimits(budget, 100, packed=loss.packs, members=members)
    material = Material(ROWS, validation, limits, torch.device("cpu"))
    with loss.ready():
        fitted = fit(loss, trained_parameters(model), material, plan, Events(stream))
    events = [decode(line) for line in stream.getvalue().splitlines()]
    return model, fitted, [event for event in events if isinstance(event, Step)]


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trained_parameters(model)])


def test_it_learns_and_tells_every_step(load: Load) -> None:
    model, fitted, steps = train(load, epochs=40, batch_size=3)
    assert [step.step for step in steps] == list(range(1, 41))
    assert {step.total_steps for step in steps} == {40} == {fitted.steps}
    assert steps[0].loss > 5
    assert fitted.final_loss == steps[-1].loss < 1
    assert [step.trained_tokens for step in steps[:2]] == [6, 12]
    assert steps[-1].epoch == 40
    assert fitted.trained_tokens == 240
    assert not is_unchanged(model)
    assert all(step.tokens_per_second > 0 and step.gradient_norm > 0 for step in steps)


def test_the_last_batch_may_be_short_and_passes_run_on(load: Load) -> None:
    _, fitted, steps = train(load, epochs=3, batch_size=2)
    assert fitted.steps == 5
    assert [step.epoch for step in steps] == pytest.approx([2 / 3, 4 / 3, 2, 8 / 3, 3])


def test_the_schedule_is_followed(load: Load) -> None:
    _, _, steps = train(load, epochs=4, batch_size=3, schedule=Schedule.LINEAR, warmup_ratio=0.25)
    assert [step.learning_rate for step in steps] == pytest.approx([5e-3, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3])


def test_two_runs_are_equal_to_the_bit_and_seeds_differ(load: Load) -> None:
    first, second, other = (train(load, epochs=5, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_the_budget_changes_nothing_but_rounding(load: Load) -> None:
    whole, pieces = (train(load, budget, epochs=5, batch_size=3) for budget in (1000, 1))
    assert whole[1].final_loss == pytest.approx(pieces[1].final_loss, rel=1e-4)


def test_a_team_changes_nothing_but_rounding_and_repeats_exactly(load: Load) -> None:
    alone, first, second = (train(load, epochs=5, batch_size=3, members=members) for members in (1, 3, 3))
    assert first[1].final_loss == pytest.approx(alone[1].final_loss, rel=1e-4)
    assert torch.equal(weights(first[0]), weights(second[0]))


def test_validation_is_measured_at_most_ten_times_and_last(load: Load) -> None:
    validation = labelled(([20, 21, 22], 1), ([23, 24, 25, 26, 27], 1))
    model, fitted, steps = train(load, epochs=33, batch_size=3, validation=validation)
    measured = {step.step: step.validation_loss for step in steps if step.validation_loss is not None}
    assert list(measured) == [4, 8, 12, 16, 20, 24, 28, 32, 33]
    assert fitted.validation_loss == measured[33]
    material = Material(ROWS, validation, PieceLimits(1, 0), torch.device("cpu"))
    loss = SupervisedLoss(model, output_layer(model.get_base_model()))
    assert mean_loss(loss, material.cut(validation), Team(1, 1)) == pytest.approx(measured[33], rel=1e-5)


def test_a_run_that_diverges_says_at_which_step(load: Load) -> None:
    with pytest.raises(DomainError, match=r"diverged at step \d+: the loss is .* Lower the learning rate") as caught:
        train(load, epochs=50, learning_rate=1.0, lora_alpha=1e30)
    assert caught.value.reason is Reason.TRAINING_DIVERGED
    assert int(caught.value.metadata["step"]) >= 1


def test_a_rate_that_rounds_to_nothing_leaves_the_adapter_as_it_was(load: Load) -> None:
    model, _, _ = train(load, learning_rate=1e-60)
    assert is_unchanged(model)


def test_the_probe_tells_base_and_adapter_apart(load: Load) -> None:
    model, _, _ = train(load, epochs=20, batch_size=3)
    found = probe(model, ROWS)
    assert found.prompt_token_ids in {(5, 6), (9,), (12, 13, 14)}
    assert 8 <= len(found.token_ids) <= 16
    ids, tokens = torch.tensor([found.prompt_token_ids]), list(found.token_ids)
    with torch.no_grad():
        adapter = model(input_ids=ids).logits[0, -1]
        base = load().model(input_ids=ids).logits[0, -1]
    assert found.adapter_logits == pytest.approx(adapter[tokens].tolist(), abs=1e-5)
    assert found.base_logits == pytest.approx(base[tokens].tolist(), abs=1e-5)
    assert int(adapter.argmax()) in {7, 10, 15} & set(tokens)
    assert set(base.topk(8).indices.tolist()) <= set(tokens)


def test_the_probe_is_the_prompt_on_which_the_adapter_shows_most(load: Load) -> None:
    model, _, _ = train(load, epochs=20, batch_size=3)
    alone = [probe(model, [row]) for row in ROWS]
    assert probe(model, ROWS) == probe(model, ROWS[::-1]) == max(alone, key=lambda found: found.gap)
    assert len({found.gap for found in alone}) == len(ROWS)


def test_a_long_prompt_is_probed_by_its_end_where_the_answer_begins(load: Load) -> None:
    model, _, _ = train(load, epochs=20, batch_size=3)
    row = labelled((list(range(3, 103)), 90))
    assert probe(model, row).prompt_token_ids == tuple(range(29, 93))


def test_an_adapter_that_changes_less_than_rounding_has_no_effect(load: Load) -> None:
    model, _, _ = train(load, learning_rate=1e-9, batch_size=3)
    assert not is_unchanged(model)
    with pytest.raises(DomainError, match="next to nothing") as caught:
        probe(model, ROWS)
    assert caught.value.reason is Reason.ADAPTER_NO_EFFECT
    assert float(caught.value.metadata["gap"]) < float(caught.value.metadata["least"])


def test_a_last_step_that_leaves_no_numbers_is_a_divergence(load: Load) -> None:
    with pytest.raises(DomainError, match="diverged at step 1") as caught:
        train(load, batch_size=3, learning_rate=math.inf)
    assert caught.value.reason is Reason.TRAINING_DIVERGED


def test_an_adapter_whose_logits_are_not_finite_is_a_divergence(load: Load) -> None:
    model, _, _ = train(load, batch_size=3)
    with torch.no_grad():
        for parameter in trained_parameters(model):
            parameter.fill_(3e38)
    with pytest.raises(DomainError, match="logits are not finite") as caught:
        probe(model, ROWS)
    assert caught.value.reason is Reason.TRAINING_DIVERGED


def test_it_stops_when_held_out_rows_are_answered_no_better(load: Load) -> None:
    unlike = labelled(([5, 6, 20, 21], 2), ([9, 22, 23], 1))  # begin as the rows do, and go on otherwise
    _, whole, _ = train(load, epochs=60, batch_size=3, validation=unlike)
    _, stopped, steps = train(load, epochs=60, batch_size=3, validation=unlike, early_stopping_patience=2)
    assert stopped.steps == len(steps) < whole.steps == 60
    best = min(stopped.validation_losses)
    assert stopped.validation_losses[-3] == best < min(stopped.validation_losses[-2:])
    assert stopped.validation_loss == stopped.validation_losses[-1]
    assert stopped.validation_losses == whole.validation_losses[: len(stopped.validation_losses)]


def test_gradients_are_cut_to_the_norm_that_is_asked_for(load: Load) -> None:
    free, cut = (train(load, epochs=1, batch_size=3, max_gradient_norm=norm)[2] for norm in (100.0, 1e-6))
    assert free[0].gradient_norm == cut[0].gradient_norm > 1e-6


@pytest.mark.parametrize("variant", ["use_rslora", "use_dora"])
def test_variants_of_lora_are_trained(load: Load, variant: str) -> None:
    model, fitted, _ = train(load, epochs=40, batch_size=3, **{variant: True})
    assert fitted.final_loss < 1
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any("magnitude" in name for name in names) is (variant == "use_dora")
    scaling = 8.0 / (4**0.5 if variant == "use_rslora" else 4)
    assert layer.scaling["default"] == scaling
