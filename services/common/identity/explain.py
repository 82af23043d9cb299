"""A refusal as a person wants to read it."""

from collections.abc import Mapping
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.identity.verdict import Comparison, Difference, Verdict

__all__ = ["explain", "mismatch_error"]

SHOWN: Final = 4
SHORT: Final = 12
LONGEST: Final = 60
"""Characters of a value that are shown: a list of layers says little in full."""

HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.ARCHITECTURE_DIFFERS: "They are different architectures",
    Verdict.CODE_DIFFERS: "They run different model code",
    Verdict.COMPONENT_MISSING: "They do not have the same components",
    Verdict.STRUCTURE_DIFFERS: "They differ in structure",
    Verdict.CONFIG_DIFFERS: "Their configurations differ",
    Verdict.PROCESSOR_DIFFERS: "Their processors prepare images or sound differently",
    Verdict.TOKENIZER_DIFFERS: "Their tokenizers differ, so the same text would become other tokens",
    Verdict.WEIGHTS_DIFFER: "They have the same shape, but other weights",
}

REMEDIES: Final[Mapping[Verdict, str]] = {
    Verdict.CODE_DIFFERS: "restore the code files of {expected}",
    Verdict.COMPONENT_MISSING: "use a complete copy of {expected}",
    Verdict.CONFIG_DIFFERS: "declare {actual} derived from {expected} if it is the same model",
    Verdict.PROCESSOR_DIFFERS: "restore the processor files of {expected}",
    Verdict.TOKENIZER_DIFFERS: "restore the tokenizer files of {expected}",
    Verdict.WEIGHTS_DIFFER: "download {expected} again if {actual} was meant to be a copy of it",
}
"""What may help beside serving on the right base or training again."""


def explain(comparison: Comparison, *, expected_name: str, actual_name: str) -> str:
    """Say in a few lines which base the adapter was trained on, which this one is, what differs and what to do.

    Args:
        comparison: the outcome of ``compare``.
        expected_name: what people call the base the adapter was trained on.
        actual_name: what people call the base at hand.
    """
    expected = f"{expected_name} ({comparison.expected_id[:SHORT]})"
    actual = f"{actual_name} ({comparison.actual_id[:SHORT]})"
    if comparison.verdict is Verdict.EXACT:
        return f"{actual} is the base the adapter was trained on."
    if comparison.verdict is Verdict.DERIVATIVE:
        return f"{actual} is declared a derivative of {expected}, the base the adapter was trained on; probe it."
    return "\n".join(
        [
            f"The adapter was trained on {expected}; this base is {actual}.",
            f"{HEADLINES[comparison.verdict]}:",
            *_lines(comparison),
            _remedy(comparison.verdict, expected_name, actual_name),
        ]
    )


def mismatch_error(comparison: Comparison, *, expected_name: str, actual_name: str) -> DomainError:
    """The refusal as an error: BASE_FINGERPRINT_MISMATCH with verdict, expected_id and actual_id."""
    return DomainError(
        Reason.BASE_FINGERPRINT_MISMATCH,
        explain(comparison, expected_name=expected_name, actual_name=actual_name),
        {
            "verdict": comparison.verdict.value,
            "expected_id": comparison.expected_id,
            "actual_id": comparison.actual_id,
        },
    )


def _lines(comparison: Comparison) -> list[str]:
    told = _telling(comparison)
    more = len(told) - SHOWN
    return [*map(_line, told[:SHOWN]), *([f"  and {more} more differences"] if more > 0 else [])]


def _telling(comparison: Comparison) -> list[Difference]:
    """The differences: what the headline speaks of, then what both have with other values."""

    def rank(difference: Difference) -> tuple[bool, bool, bool]:
        one_sided = difference.expected is None or difference.actual is None
        # Of the shapes in a summary there is only a digest; keys of the configuration say more.
        elsewhere = comparison.verdict is not Verdict.STRUCTURE_DIFFERS and difference.kind is not comparison.verdict
        return elsewhere, one_sided, difference.subject == "structure"

    return sorted(comparison.differences, key=rank)


def _line(difference: Difference) -> str:
    if difference.expected is None and difference.actual is None:
        return f"  and {difference.subject}"
    return f"  {difference.subject}: trained on {_value(difference.expected)}, here {_value(difference.actual)}"


def _value(value: str | None) -> str:
    if not value:
        return "none"
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"


def _remedy(verdict: Verdict, expected: str, actual: str) -> str:
    also = f"; or {REMEDIES[verdict].format(expected=expected, actual=actual)}" if verdict in REMEDIES else ""
    return f"Serve the adapter on {expected}, or train it again on {actual}{also}."
