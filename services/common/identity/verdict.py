"""What a comparison of two bases can say."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Comparison", "ComparisonPolicy", "Difference", "Verdict"]


class Verdict(StrEnum):
    """Whether two bases are the same, and if not, the first thing in which they are not; in order of precedence."""

    EXACT = "EXACT"
    DERIVATIVE = "DERIVATIVE"
    ARCHITECTURE_DIFFERS = "ARCHITECTURE_DIFFERS"
    CODE_DIFFERS = "CODE_DIFFERS"
    COMPONENT_MISSING = "COMPONENT_MISSING"
    STRUCTURE_DIFFERS = "STRUCTURE_DIFFERS"
    CONFIG_DIFFERS = "CONFIG_DIFFERS"
    PROCESSOR_DIFFERS = "PROCESSOR_DIFFERS"
    TOKENIZER_DIFFERS = "TOKENIZER_DIFFERS"
    WEIGHTS_DIFFER = "WEIGHTS_DIFFER"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs.

    Attributes:
        kind: the verdict it would give by itself.
        subject: the key, tensor or component.
        expected: on the base the adapter was trained on; None where it has none.
        actual: on the base at hand; None where it has none.
    """

    kind: Verdict
    subject: str
    expected: str | None
    actual: str | None


@dataclass(frozen=True, slots=True)
class ComparisonPolicy:
    """What may pass beside an exact match.

    Attributes:
        allow_derivatives: a base that declares the same root passes as DERIVATIVE; the caller must then probe it.
    """

    allow_derivatives: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome.

    Attributes:
        verdict: the first difference by precedence, or that there is none.
        differences: all of them, in the order of precedence, each kind cut off after a few.
        sentence: what it comes to, for a person.
        expected_id: id of the base the adapter was trained on.
        actual_id: id of the base at hand.
    """

    verdict: Verdict
    differences: tuple[Difference, ...]
    sentence: str
    expected_id: str
    actual_id: str

    @property
    def admissible(self) -> bool:
        """Whether an adapter may go on to the next step of admission (for DERIVATIVE, a probe must follow)."""
        return self.verdict in {Verdict.EXACT, Verdict.DERIVATIVE}
