"""The gate of an alias: only versions that have learned pass it, or those let through with a reason."""

from dataclasses import dataclass
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import AliasName
from services.common.training_report import TrainingVerdict
from services.registry.model import AdapterVersion, Alias
from services.registry.texts import check_line

MAX_REASON: Final = 1000

NO_REPORT: Final = "none"
"""In place of a verdict, where a manifest has no training report: imported adapters, and those from before there were any."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What a caller asks of the gate.

    Attributes:
        gated: whether the alias shall be gated from now on; None leaves it.
        reason: why it shall pass all the same; empty for none.
    """

    gated: bool | None = None
    reason: str = ""


def passed(name: AliasName, current: Alias | None, target: AdapterVersion, asked: Passage) -> tuple[bool, str]:
    """Decide whether an alias may become what is asked.

    Returns:
        Whether it is gated then, and the reason to keep: the caller's where one was needed, else none.

    Raises:
        DomainError: VERDICT_NOT_ADMITTED; INVALID_ARGUMENT: the reason is too long, or more than a line.
    """
    reason = check_line(asked.reason, "reason", MAX_REASON) if asked.reason else ""
    was = current is not None and current.gated
    gated = was if asked.gated is None else asked.gated
    moves = current is None or current.version != target.name
    if was and not gated and not reason:
        raise _needs_reason(name)
    if was and not gated:
        return gated, reason
    if not gated or not (moves or not was):
        return gated, current.reason if current is not None and not moves else ""
    verdict = verdict_of(target)
    if verdict == TrainingVerdict.LEARNED:
        return gated, ""
    if not reason:
        raise _not_admitted(name, target, verdict)
    return gated, reason


def verdict_of(version: AdapterVersion) -> str:
    """What the version's training report says; NO_REPORT where it has none."""
    report = AdapterManifest.from_bytes(version.manifest).report
    return NO_REPORT if report is None else report.verdict.value


def _not_admitted(name: AliasName, target: AdapterVersion, verdict: str) -> DomainError:
    said = "it has no training report" if verdict == NO_REPORT else f"its training report says {verdict.upper()}"
    return DomainError(
        Reason.VERDICT_NOT_ADMITTED,
        f"The alias {name.alias} of {name.adapter} is gated, and version {target.name.version[:12]} does not pass: {said}, "
        "not LEARNED. Read the report (`tenon job report JOB`); to let it pass all the same, give a reason, which is kept.",
        {"verdict": verdict, "adapter_version": str(target.name)},
    )


def _needs_reason(name: AliasName) -> DomainError:
    return DomainError(
        Reason.VERDICT_NOT_ADMITTED,
        f"The alias {name.alias} of {name.adapter} is gated. To take its gate away, give a reason, which is kept.",
        {"verdict": NO_REPORT},
    )
