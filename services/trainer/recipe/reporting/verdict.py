"""The rules that make a verdict of what was measured after training. Pure, no torch.

What decides is the difference between base and adapter on the same rows, against its own standard error: held-out rows where
there are any, else rows that were trained on, which cannot tell learning from learning by heart.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from services.common.training_report import LossCurve, Measured, TrainingVerdict

SIGNIFICANT: Final = 3.0
"""Standard errors that a difference must have."""

LITTLE: Final = 0.10
"""Share of the base's loss: below it nothing can be seen in answers."""

MUCH: Final = 0.25
"""Share of the base's loss from which on an adapter has learned."""

GIVEN_BACK: Final = 0.5
"""Share of the best held-out gain that may be lost again until the end."""

BY_HEART: Final = 0.5
"""Training loss, in nats a token, below which rows are known by heart."""

NO_WINDOW: Final = 4
"""Steps below which a loss curve tells nothing."""


def loss_curve(losses: Sequence[float], validation: Sequence[float]) -> LossCurve:
    """Sum up the losses of a run's steps, and its held-out losses, in order."""
    window = max(1, min(20, len(losses) // 5))
    jumps = [after - before for before, after in pairwise(losses)]
    # The difference of neighbours has twice the variance of either, and no trend worth the name.
    noise = math.sqrt(sum(jump * jump for jump in jumps) / (2 * len(jumps))) if jumps else 0.0
    return LossCurve(
        steps=len(losses),
        first=_mean(losses[:window]),
        last=_mean(losses[-window:]),
        window=window,
        noise=noise,
        best_validation_loss=min(validation, default=None),
        last_validation_loss=validation[-1] if validation else None,
    )


def judge(
    held_out: Measured | None, trained: Measured, curve: LossCurve, end_of_turn_share: float
) -> tuple[TrainingVerdict, tuple[str, ...]]:
    """Whether it learned, and why one may say so.

    Args:
        held_out: on rows that were not trained on, or None.
        trained: on rows that were.
        curve: of the training loss.
        end_of_turn_share: of the rows, those that teach where an answer ends.
    """
    verdict, first = _decide(held_out, trained, curve)
    return verdict, (first, *_evidence(held_out, trained, curve, end_of_turn_share))


def _decide(held_out: Measured | None, trained: Measured, curve: LossCurve) -> tuple[TrainingVerdict, str]:
    if not _learned(trained, LITTLE):
        return TrainingVerdict.NOT_LEARNED, (
            f"On the rows it was trained on the adapter lowers the base's loss by {_share(trained):.1%} only "
            f"({trained.base_loss:.3f} to {trained.adapter_loss:.3f}); below {LITTLE:.0%} it answers like the base."
        )
    if held_out is None:
        return _by_size(trained, "rows it was trained on")
    if held_out.gain < 0 or _gave_back(held_out, curve):
        return TrainingVerdict.OVERFITTED, _overfitted(held_out, trained, curve)
    if not _learned(held_out, LITTLE) and trained.adapter_loss >= BY_HEART:
        return TrainingVerdict.NOT_LEARNED, (
            f"On held-out rows the adapter lowers the base's loss by {_share(held_out):.1%} only ({held_out.base_loss:.3f} "
            f"to {held_out.adapter_loss:.3f}); below {LITTLE:.0%} it answers like the base."
        )
    if not _learned(held_out, LITTLE):
        return TrainingVerdict.OVERFITTED, (
            f"It knows its own rows by heart (loss {trained.adapter_loss:.3f}) and answers held-out rows no better than "
            f"the base ({held_out.base_loss:.3f} to {held_out.adapter_loss:.3f}). Train for fewer epochs, or on more rows."
        )
    return _by_size(held_out, "held-out rows")


def _by_size(measured: Measured, where: str) -> tuple[TrainingVerdict, str]:
    told = (
        f"On {measured.rows} {where} the loss is {measured.adapter_loss:.3f} with the adapter and "
        f"{measured.base_loss:.3f} without, {_share(measured):.0%} lower, and {measured.adapter_accuracy:.0%} of the "
        f"tokens are right instead of {measured.base_accuracy:.0%}."
    )
    if _learned(measured, MUCH):
        return TrainingVerdict.LEARNED, told
    return TrainingVerdict.WEAK, f"{told} From {MUCH:.0%} on it counts as learned: train longer, or on more rows."


def _learned(measured: Measured, share: float) -> bool:
    return _share(measured) >= share and measured.gain > SIGNIFICANT * measured.error


def _share(measured: Measured) -> float:
    return measured.gain / measured.base_loss if measured.base_loss > 0 else 0.0


def _gave_back(held_out: Measured, curve: LossCurve) -> bool:
    best, last = curve.best_validation_loss, curve.last_validation_loss
    if best is None or last is None:
        return False
    return last - best > GIVEN_BACK * max(0.0, held_out.base_loss - best)


def _overfitted(held_out: Measured, trained: Measured, curve: LossCurve) -> str:
    best = curve.best_validation_loss
    way = f", and was {best:.3f} on the way" if best is not None and best < held_out.adapter_loss else ""
    return (
        f"On rows it was trained on the loss fell to {trained.adapter_loss:.3f}, on held-out rows it is "
        f"{held_out.adapter_loss:.3f} ({held_out.base_loss:.3f} without the adapter{way}): it learned its rows by heart. "
        "Train for fewer epochs, or on more rows."
    )


def _evidence(
    held_out: Measured | None, trained: Measured, curve: LossCurve, end_of_turn_share: float
) -> Iterator[str]:
    if held_out is None:
        yield (
            "There were no held-out rows, so nothing is known of questions it has not seen. Train with a validation data "
            "set to know."
        )
    yield _curve_told(curve)
    best, last = curve.best_validation_loss, curve.last_validation_loss
    if best is not None and last is not None and last > best:
        yield f"The held-out loss was lowest at {best:.3f} and ended at {last:.3f}: fewer epochs would have been better."
    if held_out is not None and trained.adapter_loss < BY_HEART < held_out.adapter_loss:
        yield (
            f"Its own rows are known by heart (loss {trained.adapter_loss:.3f}, held-out {held_out.adapter_loss:.3f}); more "
            "rows would help more than more epochs."
        )
    if end_of_turn_share < 1:
        yield f"{end_of_turn_share:.0%} of the rows teach where an answer ends; of the others answers may run on."


def _curve_told(curve: LossCurve) -> str:
    told = f"The training loss went from {curve.first:.3f} to {curve.last:.3f} in {curve.steps} steps"
    if curve.steps < NO_WINDOW:
        return f"{told}, which are too few to tell a fall from noise."
    error = curve.noise * math.sqrt(2 / curve.window)
    if curve.fall > SIGNIFICANT * error:
        return f"{told}, a fall well above its noise of {curve.noise:.3f} a step."
    return f"{told}, which cannot be told from its noise of {curve.noise:.3f} a step."


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
