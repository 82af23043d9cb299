"""How long a training will take, roughly, from how fast this machine multiplies. No torch."""

from dataclasses import dataclass
from typing import Final

from services.trainer.recipe.planning.memory import ModelShape

EFFICIENCY: Final = 0.55
"""Share of the matrix products' own speed that a step reaches; the rest is norms, activations and attention's scores."""

SECONDS_PER_TARGET: Final = 1.2e-4
"""Of a step for every adapted layer, whatever its size: the calls themselves, forward and back."""

SECONDS_PER_STEP: Final = 2e-3
"""Of every step: cutting rows, the optimizer, telling what happened."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Floating-point operations per second of a large matrix product on what a training would use."""

    flops: float


def reckon(
    speed: Speed, shape: ModelShape, *, tokens: int, supervised: int, steps: int, targets: int
) -> tuple[float, str]:
    """Seconds of all steps, and how they were reckoned.

    A frozen parameter costs two operations forward and two on the way back; the head is only at work on supervised tokens.

    Args:
        speed: measured here.
        shape: of the base.
        tokens: that go through the base in all.
        supervised: that go through its head in all.
        steps: of the optimizer.
        targets: layers that get an adapter.
    """
    head = shape.hidden * shape.vocabulary
    body = max(0, shape.parameters - head)
    operations = 4.0 * (body * tokens + head * supervised)
    seconds = operations / (EFFICIENCY * speed.flops) + steps * (SECONDS_PER_STEP + SECONDS_PER_TARGET * targets)
    basis = (
        f"{operations / 1e12:.3g} TFLOP at {EFFICIENCY:.0%} of the {speed.flops / 1e9:.0f} GFLOP/s measured here, and "
        f"{steps} steps at {SECONDS_PER_STEP + SECONDS_PER_TARGET * targets:.3f} s of their own."
    )
    return seconds, basis
