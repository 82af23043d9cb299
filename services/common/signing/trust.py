"""The keys that are trusted here, and what they say of a manifest."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, Self

from services.common.errors import DomainError, Reason
from services.common.signing.envelope import Envelope, signed_bytes
from services.common.signing.keys import PublicKey

MAX_KEYS: Final = 1000


class Trust(Protocol):
    """Whoever can say whether a manifest's signatures are believed: `TrustedKeys`, or a `TrustStore` of them."""

    def verify(self, envelope: bytes | None, manifest: bytes) -> str:
        """See `TrustedKeys.verify`."""

    def valid_signatures(self, envelope: bytes | None, manifest: bytes) -> Mapping[str, bytes]:
        """See `TrustedKeys.valid_signatures`."""


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
        files = list(key_files(paths))
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
        return min(self.valid_signatures(envelope, manifest))

    def valid_signatures(self, envelope: bytes | None, manifest: bytes) -> Mapping[str, bytes]:
        """Hold a manifest against its signatures, and keep those that count; arguments and errors as of `verify`.

        Returns:
            Key id → signature, of every trusted key that signed it; at least one.
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
        return self._fitting(opened)

    def _fitting(self, envelope: Envelope) -> Mapping[str, bytes]:
        known = {key_id: envelope.signatures[key_id] for key_id in sorted(self._keys.keys() & envelope.signatures)}
        if not known:
            raise self._untrusted(envelope)
        message = signed_bytes(envelope.payload)
        # One that does not fit is no reason to doubt another that does.
        fitting = {key_id: sig for key_id, sig in known.items() if self._keys[key_id].verifies(sig, message)}
        if not fitting:
            raise _invalid(f"it does not fit the key {min(known)[:12]} that it names")
        return fitting

    def _untrusted(self, envelope: Envelope) -> DomainError:
        signers = sorted(envelope.signatures)
        trusted = ", ".join(key_id[:12] for key_id in self.key_ids[:4]) or "none"
        return DomainError(
            Reason.SIGNATURE_UNTRUSTED,
            f"The manifest is signed by {', '.join(key_id[:12] for key_id in signers[:4])}, which is not trusted here "
            f"(trusted: {trusted}). If you know whose key that is, add its public half to the trusted ones: --trust of "
            "`tenon verify`, TENON_TRUSTED_KEYS of a server, a JSON list of their files.",
            {"key_ids": ",".join(signers), "trusted": ",".join(self.key_ids[:16])},
        )

    def __repr__(self) -> str:
        """Name them."""
        return f"TrustedKeys({', '.join(key_id[:12] for key_id in self.key_ids)})"


def key_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The key files that paths stand for: a directory for its ``*.pem``, in order of their names."""
    for path in paths:
        if _is_directory(path):
            yield from sorted(path.glob("*.pem"))
        else:
            yield path


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a directory that may not be searched; whoever reads it will say so
        return False


def _invalid(fault: str) -> DomainError:
    return DomainError(
        Reason.SIGNATURE_INVALID,
        f"The manifest's signature cannot be used: {fault}. Get the adapter again from where it was published.",
    )
