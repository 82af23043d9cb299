"""The learning rate of every step."""

import math

from services.trainer.recipe.protocol import Schedule


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """Steps that warm up."""
    return math.ceil(total_steps * warmup_ratio)


def rate_factor(step: int, total_steps: int, warmup: int, schedule: Schedule) -> float:
    """The share of the highest learning rate that a step uses.

    Args:
        step: from 0.
        total_steps: steps in all.
        warmup: steps over which it rises in a straight line, reaching 1 at the first step after them.
        schedule: how it falls from there to 0, which it would reach one step after the last.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total_steps - warmup)
    match schedule:
        case Schedule.LINEAR:
            return 1.0 - done
        case Schedule.COSINE:
            return 0.5 * (1.0 + math.cos(math.pi * done))
        case Schedule.CONSTANT:
            return 1.0
