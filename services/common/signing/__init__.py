"""Who vouches for a manifest: Ed25519 keys, DSSE envelopes, and the keys that are trusted here (docs/manifest.md)."""

from services.common.signing.envelope import MAX_ENVELOPE_BYTES, Envelope, sign
from services.common.signing.keys import PublicKey, SigningKey, holds_private_key, make_key_file
from services.common.signing.trust import Trust, TrustedKeys
from services.common.signing.trust_store import TrustStore

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "Envelope",
    "PublicKey",
    "SigningKey",
    "Trust",
    "TrustStore",
    "TrustedKeys",
    "holds_private_key",
    "make_key_file",
    "sign",
]
