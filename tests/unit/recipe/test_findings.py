"""Every rule of a plan, beside what would keep it silent."""

from dataclasses import replace

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.recipe.planning.findings import Case, find, most_serious_first, of_error
from services.trainer.recipe.planning.plan import refusal
from services.trainer.recipe.protocol import Severity
from tests.unit.recipe.conftest import make_plan

GOOD = Case(
    chosen=make_plan(epochs=5, batch_size=4, learning_rate=2e-4),
    steps=170,
    rows=136,
    skipped=0,
    truncated=0,
    end_of_turn=136,
    validation=20,
    supervised_tokens=3000,
    lora_parameters=200_000,
    all_linear=True,
    memory_bytes=1 << 30,
    memory_available=8 << 30,
    memory_fixed=1 << 29,
)


def test_a_good_plan_has_no_findings() -> None:
    assert list(find(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "severity", "code", "remedy"),
    [
        ({"end_of_turn": 0}, Severity.HOPELESS, "NO_END_OF_TURN", "end-of-turn token"),
        ({"end_of_turn": 0, "truncated": 136}, Severity.HOPELESS, "NO_END_OF_TURN", "Raise max_sequence_length (64)"),
        ({"skipped": 3}, Severity.WARNING, "ROWS_LEFT_OUT", "Raise max_sequence_length"),
        ({"truncated": 3}, Severity.WARNING, "ROWS_CUT", "Raise max_sequence_length"),
        ({"withheld": 12}, Severity.INFO, "SYNTHETIC_ROWS_WITHHELD", "validation_fraction of 0"),
        ({"validation": 0}, Severity.INFO, "NO_VALIDATION", "10 rows or more"),
        ({"supervised_tokens": 800_000}, Severity.WARNING, "SMALL_CAPACITY", "Use lora_rank 16."),
        ({"all_linear": False}, Severity.INFO, "NOT_ALL_LINEAR_LAYERS", "leave target_modules out"),
        ({"chosen": make_plan(learning_rate=0.5)}, Severity.WARNING, "UNUSUAL_LEARNING_RATE", "1e-4 to 1e-3"),
        ({"memory_bytes": 7 << 30}, Severity.WARNING, "MEMORY_TIGHT", "max_sequence_length"),
        ({"memory_bytes": 9 << 30}, Severity.HOPELESS, "MEMORY_TOO_SMALL", "Lower max_sequence_length to 47"),
        (
            {"memory_bytes": 19 << 30, "memory_fixed": 18 << 30},
            Severity.HOPELESS,
            "MEMORY_TOO_SMALL",
            "take 18.0 GiB: use a smaller base",
        ),
    ],
)
def test_rules(change: dict[str, object], severity: Severity, code: str, remedy: str) -> None:
    found = {finding.code: finding for finding in find(replace(GOOD, **change))}  # type: ignore[arg-type]  # fields
    assert found[code].severity is severity
    assert remedy in found[code].remedy


def test_an_unknown_amount_of_memory_says_nothing() -> None:
    assert list(find(replace(GOOD, memory_available=0))) == []


def test_the_most_serious_come_first() -> None:
    found = most_serious_first(find(replace(GOOD, validation=0, skipped=1, end_of_turn=0)))
    assert [finding.severity for finding in found] == [Severity.HOPELESS, Severity.WARNING, Severity.INFO]


def test_a_refusal_names_each_finding_with_its_field() -> None:
    found = most_serious_first(find(replace(GOOD, steps=4, end_of_turn=0)))
    error = refusal([finding for finding in found if finding.severity is Severity.HOPELESS])
    assert error.reason is Reason.PLAN_HOPELESS
    assert error.metadata == {"findings": "TOO_FEW_STEPS,NO_END_OF_TURN"}
    assert [violation.field for violation in error.violations] == [
        "training_job.hyperparameters.batch_size",
        "training_job.dataset",
    ]
    assert "batch_size 6" in error.violations[0].description
    assert "set force" in error.message


def test_errors_that_rule_a_plan_out_are_findings() -> None:
    unknown = of_error(DomainError(Reason.TARGET_MODULES_NOT_FOUND, "No layer named x."))
    assert unknown is not None
    assert (unknown.code, unknown.severity) == ("UNKNOWN_TARGET_MODULES", Severity.HOPELESS)
    long = of_error(DomainError(Reason.INVALID_ARGUMENT, "max_sequence_length is too large."))
    assert long is not None
    assert long.code == "SEQUENCE_ABOVE_CONTEXT"
    assert of_error(DomainError(Reason.BASE_NOT_SUPPORTED, "Not this one.")) is None
