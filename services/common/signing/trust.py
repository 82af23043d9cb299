"""The keys that are trusted here, and what they say of a manifest."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from services.common.errors import DomainError, Reason
from services.common.signing.envelope import Envelope, signed_bytes
from services.common.signing.keys import PublicKey

MAX_KEYS: Final = 1000


class TrustedKeys:
    """Public keys whose owners are believed. A key is rotated by trusting the new one beside the old one for a while."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        """Trust these."""
        self._keys: Final = {key.key_id: key for key in keys}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Their ids, sorted."""
        return tuple(sorted(self._keys))

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Self:
        """Read keys from PEM files and from directories of them (``*.pem``).

        Raises:
            DomainError: KEY_INVALID for a file that is no key or not there; an empty directory holds no keys.
        """
        files = list(_files(paths))
        if len(files) > MAX_KEYS:
            raise DomainError(Reason.KEY_INVALID, f"There are {len(files)} key files; at most {MAX_KEYS} are read.")
        return cls(map(PublicKey.load, files))

    def verify(self, envelope: bytes | None, manifest: bytes) -> str:
        """Hold a manifest against its signatures.

        Args:
            envelope: DSSE envelope as JSON, or None or empty where there is none.
            manifest: the bytes that must have been signed.

        Returns:
            The id of a trusted key that signed it.

        Raises:
            DomainError: SIGNATURE_MISSING, SIGNATURE_INVALID, SIGNATURE_UNTRUSTED.
        """
        if not envelope:
            raise DomainError(
                Reason.SIGNATURE_MISSING,
                "The manifest is not signed, so nobody vouches for it. Get the adapter again with its signature, or sign "
                "it with `tenon seal` if you know where it comes from.",
            )
        opened = Envelope.from_bytes(envelope)
        if opened.payload != manifest:
            raise _invalid("it was made for another manifest")
        return self._signer(opened)

    def _signer(self, envelope: Envelope) -> str:
        known = sorted(self._keys.keys() & envelope.signatures.keys())
        if not known:
            raise self._untrusted(envelope)
        message = signed_bytes(envelope.payload)
        # One that does not fit is no reason to doubt another that does.
        for key_id in known:
            if self._keys[key_id].verifies(envelope.signatures[key_id], message):
                return key_id
        raise _invalid(f"it does not fit the key {known[0][:12]} that it names")

    def _untrusted(self, envelope: Envelope) -> DomainError:
        signers = sorted(envelope.signatures)
        trusted = ", ".join(key_id[:12] for key_id in self.key_ids[:4]) or "none"
        return DomainError(
            Reason.SIGNATURE_UNTRUSTED,
            f"The manifest is signed by {', '.join(key_id[:12] for key_id in signers[:4])}, which is not trusted here "
            f"(trusted: {trusted}). Add the signer's public key to the trusted ones if you know whose it is.",
            {"key_ids": ",".join(signers), "trusted": ",".join(self.key_ids[:16])},
        )

    def __repr__(self) -> str:
        """Name them."""
        return f"TrustedKeys({', '.join(key_id[:12] for key_id in self.key_ids)})"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.pem"))
        else:
            yield path


def _invalid(fault: str) -> DomainError:
    return DomainError(
        Reason.SIGNATURE_INVALID,
        f"The manifest's signature cannot be used: {fault}. Get the adapter again from where it was published.",
    )
