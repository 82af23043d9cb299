"""What all contestants train: the same rows in the same order, with the same settings. Needs nothing but Python."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ROWS: Final = 256
BATCH: Final = 8
SHORTEST, LONGEST = 60, 268
"""Tokens of a row; 164 on average."""

RANK: Final = 16
ALPHA: Final = 32
LEARNING_RATE: Final = 2e-4
CLIP_NORM: Final = 1.0
SEED: Final = 0
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

STEP: Final = "step"
"""The command that takes some optimizer steps: {"do": "step", "count": N}."""

GRADIENT: Final = "gradient"
"""The command that gives the gradient of the first batch, by parameter, before any step."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its completion.

    Attributes:
        ids: tokens of both.
        prompt: how many are the prompt's.
    """

    ids: tuple[int, ...]
    prompt: int


def rows(vocabulary: int) -> list[Row]:
    """The data: random tokens, of which a third to two thirds are the prompt. Words come in a few orders, so that there is something to learn."""
    generator = random.Random(SEED)
    made = []
    for _ in range(ROWS):
        length = generator.randint(SHORTEST, LONGEST)
        start, stride = generator.randrange(3, vocabulary), generator.choice((1, 3, 7))
        ids = tuple(3 + (start + stride * index) % (vocabulary - 3) for index in range(length))
        made.append(Row(ids, generator.randint(length // 3, 2 * length // 3)))
    return made


def batch(made: Sequence[Row], step: int) -> Sequence[Row]:
    """The rows of a step, from 0."""
    begin = step * BATCH % len(made)
    return made[begin : begin + BATCH]
