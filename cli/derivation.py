"""Bases that are declared derived from others: whether they can be, and what the others are called."""

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from cli.client import Json, Suite
from cli.versions import short
from services.common.errors import DomainError, Reason
from services.common.identity import (
    BaseFingerprint,
    Comparison,
    ComparisonPolicy,
    FingerprintSummary,
    canonical_json,
    compare,
)
from services.common.identity.explain import HEADLINES

ADVICE: Final = (
    "A derivative is the same model in another number format, or with a configuration that says the same in other words. "
    "Name the base that it was made of, or leave out --derived-from."
)
DERIVED: Final = ComparisonPolicy(allow_derivatives=True)
SHOWN: Final = 4
LONGEST: Final = 60
"""Differences, and characters of a value, that are shown."""


def find_origin(suite: Suite, base_id: str) -> BaseFingerprint:
    """The whole fingerprint of a registered base.

    Raises:
        DomainError: BASE_MODEL_NOT_FOUND.
    """
    found = suite.get(f"/v1/base_models/{quote(base_id, safe='')}", view="full")
    return BaseFingerprint.from_document(canonical_json(found["fingerprint"]["document"]))


def check_derived(fingerprint: FingerprintSummary, name: str, origin: FingerprintSummary, origin_name: str) -> None:
    """Make sure that a base can be what it is declared to be, a copy of another in other numbers or words.

    Args:
        fingerprint: of the base; it names the root of the other one as ``derived_from``.
        name: what the base is called.
        origin: of the other one.
        origin_name: what that one is called.

    Raises:
        DomainError: BASE_FINGERPRINT_MISMATCH: no adapter of one could answer on the other.
    """
    comparison = compare(origin, fingerprint, policy=DERIVED)
    if comparison.admissible:
        return
    lines = [
        f"{name} ({short(fingerprint.id)}) cannot be derived from {origin_name} ({short(origin.id)}).",
        f"{HEADLINES[comparison.verdict]}:",
        *_differences(comparison),
        ADVICE,
    ]
    metadata = {"verdict": comparison.verdict.value, "expected_id": origin.id, "actual_id": fingerprint.id}
    raise DomainError(Reason.BASE_FINGERPRINT_MISMATCH, "\n".join(lines), metadata)


def origin_name(bases: Iterable[Json], base: Json) -> str:
    """What a registered base is declared derived from: an id, if one of `bases` is that; empty for none."""
    root = base["fingerprint"]["derived_from"]
    return next((str(known["id"]) for known in bases if known["fingerprint"]["id"] == root), short(root or ""))


def _differences(comparison: Comparison) -> Iterator[str]:
    found = [difference for difference in comparison.differences if difference.kind is comparison.verdict]
    for difference in found[:SHOWN]:
        there, here = ((value or "none")[:LONGEST] for value in (difference.expected, difference.actual))
        yield f"  {difference.subject}: {there} there, {here} here"
    if (more := len(found) - SHOWN) > 0:
        yield f"  and {more} more differences"
