"""From the name in a request to the base and adapter that answer it, and the refusal of a pair that does not fit.

Names are looked up for every request: an alias that was moved, a base that was removed count at once. Nothing is
fetched or loaded here.
"""

from typing import Final

from services.common.errors import DomainError, Reason, Violation
from services.common.identity import Comparison, ComparisonPolicy, FingerprintSummary, compare, explain
from services.common.resource_names import BaseModelName, parse_adapter_reference
from services.inference.admission import trained_on
from services.inference.model import AdapterVersion, RegisteredBase, Target
from services.inference.policy import AdmissionPolicy
from services.inference.registry import Registry

EXACTLY: Final = ComparisonPolicy()


class Resolver:
    """Finds what answers."""

    def __init__(self, registry: Registry, policy: AdmissionPolicy) -> None:
        """Ask this registry, and hold what it answers against this policy."""
        self._registry = registry
        self._policy = policy
        # Comparing takes both whole fingerprints; those that passed once pass for as long as they stay the same.
        self._derived: set[tuple[str, str, str]] = set()

    async def resolve(self, model: str, base_model: str) -> Target:
        """Find the base and the adapter that a request means.

        Args:
            model: name of a base, an adapter, an alias or a version.
            base_model: name of the base that the caller expects, or empty.

        Raises:
            DomainError: INVALID_ARGUMENT; BASE_MODEL_NOT_FOUND, ADAPTER_NOT_FOUND, ALIAS_NOT_FOUND,
                ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_NOT_READY, ADAPTER_VERSION_REVOKED; SIGNATURE_MISSING,
                SIGNATURE_INVALID, SIGNATURE_UNTRUSTED; PROVENANCE_NOT_ADMITTED; ADAPTER_BASE_MISMATCH where the adapter
                was trained on another base than the one expected.
        """
        expected = str(BaseModelName.parse(base_model, "base_model")) if base_model else ""
        if model.startswith("baseModels/"):
            return Target(await self._base(str(BaseModelName.parse(model, "model")), expected))
        reference = parse_adapter_reference(model, "model")
        adapter = await self._registry.resolve(str(reference))
        self._policy.check(adapter)
        if expected:
            return Target(await self._expected_base(adapter, expected), adapter)
        return Target(await self._base_of(adapter), adapter)

    async def _base(self, name: str, expected: str) -> RegisteredBase:
        base = await self._registry.base(name)
        if not expected or expected == name:
            return base
        other = await self._registry.base(expected)
        if other.fingerprint_id != base.fingerprint_id:
            text = f"model is {name}, but base_model says {expected}; leave base_model out or make them equal."
            raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("base_model", text)])
        return base

    async def _expected_base(self, adapter: AdapterVersion, expected: str) -> RegisteredBase:
        base = await self._registry.base(expected)
        if base.fingerprint_id == adapter.manifest.base_fingerprint_id:
            return base
        # Another base: it passes if it is declared derived from the adapter's own, and a probe must follow.
        pair = (adapter.name.version, base.fingerprint_id, base.fingerprint.root)
        if pair not in self._derived:
            comparison = await self._compared(adapter, expected, self._policy.comparison)
            if not comparison.admissible:
                derived = base.fingerprint.root == trained_on(adapter.manifest).root
                raise _mismatch(comparison, adapter, expected, derived=derived)
            self._derived.add(pair)
        return base

    async def _base_of(self, adapter: AdapterVersion) -> RegisteredBase:
        """The base by the name it had at training time, or under another name: the fingerprint decides."""
        wanted, name = adapter.manifest.base_fingerprint_id, adapter.manifest.base_model
        try:
            base = await self._registry.base(name)
        except DomainError as error:
            if error.reason is not Reason.BASE_MODEL_NOT_FOUND:
                raise
            base = None
        if base is not None and base.fingerprint_id == wanted:
            return base
        renamed = await self._registry.base_with_fingerprint(wanted)
        if renamed is not None:
            return renamed
        if base is not None:
            raise _mismatch(await self._compared(adapter, name), adapter, name)
        raise DomainError(
            Reason.BASE_MODEL_NOT_FOUND,
            f"{adapter.name} was trained on {name}, which is not registered any more. Add that base again.",
            {"base_model": name, "fingerprint_id": wanted},
        )

    async def _compared(self, adapter: AdapterVersion, actual: str, policy: ComparisonPolicy = EXACTLY) -> Comparison:
        expected = await self._trained_on(adapter)
        return compare(expected, await self._registry.fingerprint(actual), policy=policy)

    async def _trained_on(self, adapter: AdapterVersion) -> FingerprintSummary:
        """The whole fingerprint if its base is still registered, for it names more details than the manifest."""
        summary = trained_on(adapter.manifest)
        try:
            registered = await self._registry.fingerprint(adapter.manifest.base_model)
        except DomainError:
            return summary
        return registered if registered.id == summary.id else summary


def _mismatch(comparison: Comparison, adapter: AdapterVersion, actual: str, *, derived: bool = False) -> DomainError:
    expected = adapter.manifest.base_model
    text = explain(comparison, expected_name=expected, actual_name=actual)
    if derived:
        text += (
            f"\n{actual} is declared derived from it. A server with TENON_INFERENCE_ALLOW_DERIVATIVES=true serves adapters "
            "on such bases where the probe agrees."
        )
    return DomainError(
        Reason.ADAPTER_BASE_MISMATCH,
        text,
        {
            "verdict": comparison.verdict,
            "expected_base": expected,
            "actual_base": actual,
            "expected_id": comparison.expected_id,
            "actual_id": comparison.actual_id,
        },
    )
