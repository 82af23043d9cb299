"""What the base models read: one question with its answer, drawn from a weighted list of makers.

Half of the makers ask for something that stands in the question itself (say it again, turn it round, which came
first). A model that was not taught to look at the question answers every question alike, and no adapter can teach it
afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One question and its answer, without any template around them."""

    question: str
    answer: str


Maker = Callable[[random.Random], Dialogue]


@dataclass(frozen=True, slots=True)
class WeightedMaker:
    """A maker, and how often it is drawn relative to the others."""

    make: Maker
    weight: int


def make_dialogues(makers: Sequence[WeightedMaker], count: int, seed: int) -> list[Dialogue]:
    """Answer `count` dialogues; the same arguments give the same dialogues on every machine."""
    rng = random.Random(seed)
    weights = [maker.weight for maker in makers]
    return [chosen.make(rng) for chosen in rng.choices(makers, weights=weights, k=count)]


def phrase(rng: random.Random, phrasings: Sequence[tuple[str, str]], **values: str) -> Dialogue:
    """Fill `values` into one of the (question, answer) pairs of format strings."""
    question, answer = rng.choice(phrasings)
    return Dialogue(question.format(**values), answer.format(**values))
