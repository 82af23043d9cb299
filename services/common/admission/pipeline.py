"""Offline admission: whether an adapter's directory may be served on a base, told step by step and in a sentence."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.common.admission.directory import require_adapter
from services.common.admission.examination import SHORT, Examination
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, Difference
from services.common.signing.trust import Trust

__all__ = ["CHECKS", "UNDECLARED", "Check", "Outcome", "Report", "Verdict", "verify_adapter"]

UNDECLARED: Final = "undeclared"
CHECKS: Final = (
    "files", "manifest", "signature", "base", "config", "header", "tensors", "digest", "values", "effect", "probe",
)  # fmt: skip
"""Names of the checks, in their order."""


class Outcome(enum.StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    SKIPPED = "skipped"


class Verdict(enum.StrEnum):
    """What all checks come to."""

    ADMISSIBLE = "ADMISSIBLE"
    REFUSED = "REFUSED"
    """Something is wrong with the adapter, or it belongs to another base."""
    UNUSABLE = "UNUSABLE"
    """There is nothing to decide: no adapter, no base, no key."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step.

    Attributes:
        name: one of ``CHECKS``.
        outcome: how it ended.
        detail: what was found, or why it was skipped.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all checks.

    Attributes:
        verdict: what they come to.
        reason: of the first failure; None if admissible.
        provenance: ``witnessed`` or ``declared`` as the manifest says, which is to be believed only where its signature
            passed; ``undeclared`` where no manifest was read.
        checks: every one of ``CHECKS``, in order.
        differences: between the base the adapter was trained on and this one.
        sentence: for a person, in one or a few lines.
        version: digest of the manifest; None where none was read.
        base_id: fingerprint id of the base at hand; None where it was not asked for.
        metadata: facts of the first failure, for programs.
    """

    verdict: Verdict
    reason: Reason | None
    provenance: str
    checks: tuple[Check, ...]
    differences: tuple[Difference, ...]
    sentence: str
    version: str | None = None
    base_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def verify_adapter(
    directory: Path,
    base: BaseFingerprint | Callable[[], BaseFingerprint],
    trusted: Trust,
    *,
    base_name: str,
    allow_undeclared: bool = False,
) -> Report:
    """Decide whether an adapter may be served on a base, by all that can be told without loading the base.

    Args:
        directory: of the adapter, as PEFT saved it.
        base: fingerprint of the base, or what computes it; asked only if the adapter passes so far.
        trusted: the keys whose owners are believed.
        base_name: what people call the base.
        allow_undeclared: whether an adapter without a manifest is judged by everything else.
    """
    with Examination(Path(directory), base) as examination:
        run = _Run(examination, trusted, base_name, allow_undeclared=allow_undeclared)
        try:
            require_adapter(directory)
        except DomainError as error:
            return run.unusable("files", error)
        return run.report()


class _Run:
    """The steps, one after the other until one fails."""

    def __init__(self, examination: Examination, trusted: Trust, base_name: str, *, allow_undeclared: bool) -> None:
        self._examination = examination
        self._trusted = trusted
        self._base_name = base_name
        self._allow_undeclared = allow_undeclared
        self._checks: list[Check] = []

    def report(self) -> Report:
        """Take every step."""
        examination = self._examination
        steps: tuple[Callable[[], Check | str], ...] = (
            examination.files,
            self._manifest,
            self._signature,
            self._base,
            examination.config,
            examination.header,
            examination.tensors,
            self._digest,
            examination.values,
            examination.effect,
            self._probe,
        )
        for name, step in zip(CHECKS, steps, strict=True):
            try:
                found = step()
            except _UnusableError as error:
                return self.unusable(name, error.error)
            except DomainError as error:
                return self._failed(Verdict.REFUSED, name, error)
            self._checks.append(found if isinstance(found, Check) else Check(name, Outcome.PASS, found))
        return self._report(Verdict.ADMISSIBLE, self._sentence())

    def unusable(self, name: str, error: DomainError) -> Report:
        """End at a step, through no fault of the adapter's."""
        return self._failed(Verdict.UNUSABLE, name, error)

    def _manifest(self) -> Check | str:
        try:
            return self._examination.read_manifest()
        except DomainError as error:
            if error.reason is not Reason.MANIFEST_MISSING or not self._allow_undeclared:
                raise
        return Check("manifest", Outcome.SKIPPED, "there is none; the rest decides")

    def _signature(self) -> Check | str:
        if self._examination.manifest is None:
            return Check("signature", Outcome.SKIPPED, "there is no manifest to sign")
        try:
            return self._examination.signature(self._trusted)
        except DomainError as error:
            if error.reason is Reason.KEY_INVALID:
                raise _UnusableError(error) from None
            raise

    def _base(self) -> Check | str:
        try:
            self._examination.load_base()
        except DomainError as error:
            raise _UnusableError(error) from None
        return self._compared("base", self._examination.base(self._base_name))

    def _digest(self) -> Check | str:
        return self._compared("digest", self._examination.digest())

    def _probe(self) -> Check:
        return Check("probe", Outcome.SKIPPED, self._examination.probe())

    def _compared(self, name: str, found: str) -> Check | str:
        """What compares with the manifest has not passed where there is none."""
        return Check(name, Outcome.SKIPPED, found) if self._examination.manifest is None else found

    def _failed(self, verdict: Verdict, name: str, error: DomainError) -> Report:
        self._checks.append(Check(name, Outcome.FAIL, error.message))
        later = CHECKS[len(self._checks) :]
        self._checks += [Check(other, Outcome.SKIPPED, f"{name} failed") for other in later]
        return self._report(verdict, error.message, error)

    def _report(self, verdict: Verdict, sentence: str, error: DomainError | None = None) -> Report:
        found = self._examination
        return Report(
            verdict=verdict,
            reason=error.reason if error else None,
            provenance=self._provenance,
            checks=tuple(self._checks),
            differences=found.comparison.differences if found.comparison is not None else (),
            sentence=sentence,
            version=found.manifest.digest if found.manifest is not None else None,
            base_id=found.base_id,
            metadata=error.metadata if error else {},
        )

    @property
    def _provenance(self) -> str:
        manifest = self._examination.manifest
        return UNDECLARED if manifest is None else manifest.provenance.value

    def _sentence(self) -> str:
        manifest = self._examination.manifest
        if manifest is None:
            return (
                f"Nothing speaks against serving the adapter on {self._base_name}: its names, shapes and values fit. But "
                "nobody says which base it was trained on."
            )
        vouches = f"{self._provenance}, by the key {self._examination.signer[:SHORT]}"
        return f"The adapter may be served on {self._base_name}, the base it was trained on ({vouches})."


class _UnusableError(Exception):
    """What was given beside the adapter is at fault."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(error.message)
        self.error = error
