"""What a manifest must be for this server to serve its adapter: signed by a trusted key, and of a provenance admitted here.

Both are asked for every request, so that a key that is withdrawn stops the answers of the adapters it signed.
"""

import hashlib
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.identity import ComparisonPolicy
from services.common.manifest import Provenance
from services.common.signing import TrustedKeys, TrustStore
from services.inference.model import AdapterVersion

MAX_REMEMBERED: Final = 10_000


class AdmissionPolicy:
    """Whom this server believes, and what it serves."""

    def __init__(self, trust: TrustStore, *, admit: Provenance, allow_derivatives: bool) -> None:
        """Take the settings.

        Args:
            trust: keys whose owners are believed.
            admit: WITNESSED for adapters that Tenon trained alone, DECLARED for all.
            allow_derivatives: whether an adapter may answer on a base that is declared derived from its own.
        """
        self._trust = trust
        self._admit = admit
        self._allow_derivatives = allow_derivatives
        self._keys: TrustedKeys | None = None
        self._verified: set[tuple[str, str]] = set()

    @property
    def comparison(self) -> ComparisonPolicy:
        """What a base may differ in from the one that an adapter was trained on."""
        return ComparisonPolicy(allow_derivatives=self._allow_derivatives)

    def check(self, version: AdapterVersion) -> None:
        """Refuse a version whose manifest nobody here believes or wants.

        Raises:
            DomainError: SIGNATURE_MISSING, SIGNATURE_INVALID, SIGNATURE_UNTRUSTED; PROVENANCE_NOT_ADMITTED.
        """
        self._check_signature(version)
        self._check_provenance(version)

    def _check_signature(self, version: AdapterVersion) -> None:
        keys = self._trust.current()
        if keys is not self._keys or len(self._verified) >= MAX_REMEMBERED:
            self._keys, self._verified = keys, set()
        seen = (version.name.version, hashlib.sha256(version.envelope).hexdigest())
        if seen not in self._verified:
            keys.verify(version.envelope, version.manifest_bytes)
            self._verified.add(seen)

    def _check_provenance(self, version: AdapterVersion) -> None:
        provenance = version.manifest.provenance
        if self._admit is Provenance.WITNESSED and provenance is not Provenance.WITNESSED:
            raise DomainError(
                Reason.PROVENANCE_NOT_ADMITTED,
                f"The {version.label} was trained elsewhere: that it belongs to {version.manifest.base_model} is declared by "
                "its signer, not witnessed. This server serves only adapters that Tenon trained "
                "(TENON_INFERENCE_ADMIT=witnessed). Train it here, or have declared ones admitted.",
                {"provenance": provenance.value},
            )
