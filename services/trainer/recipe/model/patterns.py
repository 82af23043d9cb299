"""Patterns of module names: ``q_proj``, ``layers.0.*.q_proj``, ``mlp.*``. They match the end of a name, part by part.

They are no regular expressions, as PEFT's are: nothing from outside is compiled.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from services.common.errors import DomainError, Reason, Violation

V = TypeVar("V", int, float)


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name ends as a pattern says; ``*`` stands for any characters within one part."""
    wanted = pattern.split(".")
    given = name.split(".")[-len(wanted) :]
    return len(given) == len(wanted) and all(map(fnmatchcase, given, wanted))


def without_match(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Patterns that match none of the names."""
    known = list(names)
    return [pattern for pattern in patterns if not any(matches(pattern, name) for name in known)]


def assign(values: Mapping[str, V], names: Iterable[str], field: str) -> dict[str, V]:
    """Give each name the value of its most specific pattern: that with the most parts, and of these the fewest stars.

    Args:
        values: by pattern.
        names: in full.
        field: where the values come from, for errors.

    Returns:
        Values by name, of names that a pattern matches.

    Raises:
        DomainError: INVALID_ARGUMENT; two patterns are as specific and disagree.
    """
    given: dict[str, V] = {}
    for name in names:
        found = sorted((pattern for pattern in values if matches(pattern, name)), key=_specific, reverse=True)
        if not found:
            continue
        for other in found[1:]:
            if _specific(other) == _specific(found[0]) and values[other] != values[found[0]]:
                text = f"{found[0]} and {other} both match {name}, and neither is more specific"
                raise DomainError(Reason.INVALID_ARGUMENT, f"{field}: {text}.", violations=[Violation(field, text)])
        given[name] = values[found[0]]
    return given


def _specific(pattern: str) -> tuple[int, int]:
    return pattern.count("."), -pattern.count("*")
