"""A wrong pair: what is done to a right one, and how it must end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.common.errors import Reason
from services.common.identity import Verdict
from tests.matrix.pair import Pair


@dataclass(frozen=True)
class Wrong:
    """One row of the matrix.

    Attributes:
        name: what is wrong, as the page says it.
        architecture: of the base that the adapter was trained on.
        do: makes it wrong, from a pair that is not sealed yet; what it does not seal is sealed afterwards.
        step: the offline check that fails; None where nothing offline can tell.
        reason: of the offline refusal; None likewise.
        served: reason of the service's refusal; None where the service never meets the case.
        verdict: of the comparison, where the base is another one.
        unusable: whether the base itself is refused, and not the adapter.
        peft: whether PEFT can be asked what it does with the same files.
        on: options of the base.
        settings: of PEFT's LoraConfig.
    """

    name: str
    architecture: str
    do: Callable[[Pair], object]
    step: str | None
    reason: Reason | None
    served: Reason | None
    verdict: Verdict | None = None
    unusable: bool = False
    peft: bool = True
    on: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def other_base(name: str, architecture: str, do: Callable[[Pair], object], verdict: Verdict, **more: Any) -> Wrong:
    """The base at hand is another one than the adapter was trained on."""
    return Wrong(
        name, architecture, do, "base", Reason.BASE_FINGERPRINT_MISMATCH, Reason.ADAPTER_BASE_MISMATCH, verdict, **more
    )


def broken_base(name: str, architecture: str, do: Callable[[Pair], object], reason: Reason, **more: Any) -> Wrong:
    """The base at hand is none."""
    return Wrong(name, architecture, do, "base", reason, reason, unusable=True, **more)


def refused(
    name: str, architecture: str, do: Callable[[Pair], object], step: str, reason: Reason, **more: Any
) -> Wrong:
    """The adapter is at fault, and everybody says so for the same reason."""
    return Wrong(name, architecture, do, step, reason, more.pop("served", reason), **more)


def served_alone(name: str, architecture: str, do: Callable[[Pair], object], served: Reason, **more: Any) -> Wrong:
    """Only who loads the base, or asks registry and store, can tell."""
    return Wrong(name, architecture, do, None, None, served, **more)
