"""Verdicts on measurements, worked out by hand."""

import pytest

from services.common.training_report import Measured, TrainingVerdict
from services.trainer.recipe.reporting.verdict import judge, loss_curve

FELL = [5.0 - 0.03 * step + 0.1 * (-1) ** step for step in range(100)]
FLAT = [4.98, 4.96, 4.97, 4.96]


def measured(base: float, adapter: float, *, error: float = 0.05, rows: int = 20) -> Measured:
    return Measured(
        rows=rows,
        tokens=rows * 10,
        base_loss=base,
        adapter_loss=adapter,
        base_accuracy=0.1,
        adapter_accuracy=0.5,
        error=error,
    )


@pytest.mark.parametrize(
    ("held_out", "trained", "verdict", "told"),
    [
        (measured(5, 2), measured(5, 1.5), TrainingVerdict.LEARNED, "60% lower"),
        (measured(5, 2), measured(5, 0.1), TrainingVerdict.LEARNED, "60% lower"),
        (measured(5, 4.2), measured(5, 3), TrainingVerdict.WEAK, "From 25% on"),
        (measured(5, 4.96), measured(4.98, 4.96), TrainingVerdict.NOT_LEARNED, "answers like the base"),
        (measured(5, 4.8), measured(5, 4), TrainingVerdict.NOT_LEARNED, "On held-out rows"),
        (measured(5, 3, error=1.5), measured(5, 2), TrainingVerdict.NOT_LEARNED, "On held-out rows"),
        (measured(5, 5.5), measured(5, 1), TrainingVerdict.OVERFITTED, "learned its rows by heart"),
        (measured(5, 4.9), measured(5, 0.2), TrainingVerdict.OVERFITTED, "knows its own rows by heart"),
        (None, measured(5, 2), TrainingVerdict.LEARNED, "rows it was trained on"),
        (None, measured(5, 4.2), TrainingVerdict.WEAK, "rows it was trained on"),
        (None, measured(4.98, 4.96), TrainingVerdict.NOT_LEARNED, "answers like the base"),
    ],
)
def test_verdicts(held_out: Measured | None, trained: Measured, verdict: TrainingVerdict, told: str) -> None:
    said, reasons = judge(held_out, trained, loss_curve(FELL, []), 1.0)
    assert said is verdict
    assert told in reasons[0]
    assert ("no held-out rows" in reasons[1]) is (held_out is None)


def test_a_gain_that_is_given_back_is_overfitting() -> None:
    curve = loss_curve(FELL, [4.0, 2.0, 3.6])
    verdict, reasons = judge(measured(5, 3.6), measured(5, 0.1), curve, 1.0)
    assert verdict is TrainingVerdict.OVERFITTED
    assert "was 2.000 on the way" in reasons[0]
    kept, reasons = judge(measured(5, 2.2), measured(5, 0.1), loss_curve(FELL, [4.0, 2.0, 2.2]), 1.0)
    assert kept is TrainingVerdict.LEARNED
    assert any("lowest at 2.000 and ended at 2.200" in reason for reason in reasons)


def test_a_curve_knows_a_fall_from_noise() -> None:
    fell = loss_curve(FELL, [])
    assert (fell.steps, fell.window) == (100, 20)
    assert fell.first == pytest.approx(5 - 0.03 * 9.5)
    assert fell.fall == pytest.approx(0.03 * 80)
    # Neighbours differ by 0.2 and the trend.
    assert fell.noise == pytest.approx(0.2 / 2**0.5, rel=0.05)
    _, reasons = judge(measured(5, 2), measured(5, 2), fell, 1.0)
    assert "well above its noise" in reasons[1]
    _, reasons = judge(measured(5, 2), measured(5, 2), loss_curve(FLAT, []), 1.0)
    assert "cannot be told from its noise" in reasons[1]
    _, reasons = judge(measured(5, 2), measured(5, 2), loss_curve([5.0, 1.0], []), 0.5)
    assert "too few to tell" in reasons[1]
    assert reasons[2].startswith("50% of the rows teach where an answer ends")


def test_no_steps_make_an_empty_curve() -> None:
    assert loss_curve([], []).steps == 0
