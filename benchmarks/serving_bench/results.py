"""Figures with their targets."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be.

    Attributes:
        limit: the bound.
        at_least: whether it is a lower bound.
    """

    limit: float
    at_least: bool = True

    def met_by(self, value: float) -> bool:
        """Whether a figure is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        """For people."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """A figure.

    Attributes:
        scenario: letter.
        what: for people.
        unit: of the values.
        values: one for each repeat; what counts is their median.
        target: what it must be, or None where it is only told.
        raw: medians of what it was made of.
    """

    scenario: str
    what: str
    unit: str
    values: Sequence[float]
    target: Target | None = None
    raw: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.met_by(self.value)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "scenario": self.scenario,
            "what": self.what,
            "unit": self.unit,
            "median": rounded(self.value),
            "min": rounded(min(self.values)),
            "max": rounded(max(self.values)),
            "repeats": len(self.values),
            "target": None if self.target is None else str(self.target),
            "met": self.met,
            "raw": {name: rounded(value) for name, value in self.raw.items()},
        }


@dataclass(slots=True)
class Findings:
    """What a run of the benchmark found.

    Attributes:
        results: figures with and without targets.
        throughput: tokens per second by what computed them: the median over the repeats.
        contestants: what each told about itself, by name.
        notes: what was left out and why, and what a reader should know.
    """

    results: list[Result] = field(default_factory=list)
    throughput: dict[str, float] = field(default_factory=dict)
    contestants: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}") if math.isfinite(value) else value


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
