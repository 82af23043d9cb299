"""Defaults, warnings and learning rates: figures worked out by hand."""

from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.recipe.planning.defaults import batch_for, epochs_for, resolve, sequence_length, total_steps
from services.trainer.recipe.planning.plan import from_counts
from services.trainer.recipe.protocol import RecipeHyperparameters, ResolvedHyperparameters, Schedule, Severity
from services.trainer.recipe.training.schedule import rate_factor, warmup_steps


def plan_for(rows: int, parameters: int = 2_000_000, **asked: Any) -> ResolvedHyperparameters:
    wanted = RecipeHyperparameters(**asked)
    return resolve(wanted, rows=rows, parameters=parameters, max_sequence_length=64, target_modules=("q_proj",))


@pytest.mark.parametrize(
    ("rows", "epochs"), [(1, 25), (4, 25), (5, 20), (20, 5), (33, 4), (34, 3), (136, 3), (8334, 2), (25_001, 1)]
)
def test_epochs(rows: int, epochs: int) -> None:
    assert epochs_for(rows) == epochs


@pytest.mark.parametrize(("visits", "batch"), [(25, 1), (199, 1), (408, 4), (3200, 32), (75_000, 32)])
def test_batch(visits: int, batch: int) -> None:
    assert batch_for(visits) == batch


def test_the_persona_data_set_reaches_a_hundred_steps() -> None:
    plan = plan_for(136)
    assert (plan.epochs, plan.batch_size) == (3, 4)
    assert total_steps(136, plan.epochs, plan.batch_size) == 102
    assert total_steps(136, 5, 4) == 170
    assert from_counts(136, RecipeHyperparameters()) == ()


def test_what_is_asked_for_stays() -> None:
    asked: dict[str, Any] = {
        "epochs": 7,
        "batch_size": 9,
        "learning_rate": 0.5,
        "warmup_ratio": 0.0,
        "schedule": Schedule.COSINE,
        "lora_rank": 3,
        "lora_alpha": 1.5,
        "seed": 11,
        "weight_decay": 0.25,
        "max_gradient_norm": 0.5,
        "early_stopping_patience": 2,
        "use_rslora": True,
        "use_dora": True,
    }
    plan = plan_for(50, **asked)
    assert {name: getattr(plan, name) for name in asked} == asked


def test_what_is_not_is_chosen() -> None:
    small, large = plan_for(1000), plan_for(1000, 500_000_000, lora_rank=8)
    assert (small.learning_rate, small.lora_rank, small.lora_alpha) == (1e-3, 16, 32.0)
    assert (large.learning_rate, large.lora_rank, large.lora_alpha) == (2e-4, 8, 16.0)
    assert (small.warmup_ratio, small.schedule, small.seed, small.weight_decay) == (0.05, Schedule.LINEAR, 0, 0.0)
    assert small.batch_size == 30
    assert (small.max_gradient_norm, small.early_stopping_patience) == (1.0, 0)
    assert not small.use_rslora
    assert not small.use_dora


def test_rows_are_cut_to_the_base_s_context() -> None:
    assert sequence_length(RecipeHyperparameters(), 512) == 512
    assert sequence_length(RecipeHyperparameters(), 32_768) == 2048
    assert sequence_length(RecipeHyperparameters(max_sequence_length=4096), 32_768) == 4096
    with pytest.raises(DomainError, match="It is 513, but the base's context holds 512 tokens") as caught:
        sequence_length(RecipeHyperparameters(max_sequence_length=513), 512)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "hyperparameters.max_sequence_length"


def test_a_plan_that_cannot_work_is_told_with_what_would() -> None:
    short, few = from_counts(20, RecipeHyperparameters(epochs=3, batch_size=16))
    assert (short.severity, short.code) == (Severity.HOPELESS, "TOO_FEW_STEPS")
    assert "only 4 optimizer steps" in short.text
    assert "batch_size 1 with epochs 5, or batch_size 5 with epochs 25" in short.remedy
    assert "it takes 534 rows" in short.remedy
    assert total_steps(20, 5, 1) == total_steps(20, 25, 5) == total_steps(534, 3, 16) - 1 == 100
    assert (few.severity, few.code) == (Severity.WARNING, "FEW_ROWS")
    assert "Gather 80 more" in few.remedy


def test_small_data_is_warned_of_and_not_refused_when_the_choice_is_the_recipe_s() -> None:
    assert [finding.code for finding in from_counts(20, RecipeHyperparameters())] == ["FEW_ROWS"]
    assert [finding.code for finding in from_counts(9, RecipeHyperparameters())] == ["TOO_FEW_ROWS"]
    assert from_counts(0, RecipeHyperparameters()) == ()


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "way"),
    [(100, 3, 8, "batch_size 3, or epochs 8"), (300, 1, 32, "batch_size 3, or epochs 11"), (5, 2, 1, "epochs 20")],
)
def test_every_way_reaches_a_hundred_steps(rows: int, epochs: int, batch: int, way: str) -> None:
    found = from_counts(rows, RecipeHyperparameters(epochs=epochs, batch_size=batch))
    (remedy,) = [finding.remedy for finding in found if finding.code.endswith("FEW_STEPS")]
    assert f"use {way};" in remedy


def test_the_rate_rises_then_falls() -> None:
    assert warmup_steps(100, 0.05) == 5
    assert warmup_steps(10, 0.0) == 0
    linear = [rate_factor(step, 10, 2, Schedule.LINEAR) for step in range(10)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = [rate_factor(step, 4, 0, Schedule.COSINE) for step in range(4)]
    assert cosine == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert [rate_factor(step, 4, 1, Schedule.CONSTANT) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert rate_factor(0, 1, 1, Schedule.LINEAR) == 0.5
