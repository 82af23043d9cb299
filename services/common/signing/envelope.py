"""Signatures of a manifest in a DSSE envelope (https://github.com/secure-systems-lab/dsse, protocol and envelope 1.0)."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

import rfc8785

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import parse_json
from services.common.manifest import MAX_MANIFEST_BYTES
from services.common.signing.keys import SigningKey

PAYLOAD_TYPE: Final = "application/vnd.tenon.adapter.v1+json"
MAX_ENVELOPE_BYTES: Final = 2 * MAX_MANIFEST_BYTES
MAX_SIGNATURES: Final = 16
SIGNATURE_BYTES: Final = 64
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A manifest and who signed it.

    Attributes:
        payload: the manifest's bytes.
        signatures: key id → signature of ``signed_bytes(payload)``; at least one. A key id is a hint, no proof.
    """

    payload: bytes
    signatures: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON, signatures by key id."""
        return rfc8785.dumps(
            {
                "payloadType": PAYLOAD_TYPE,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [
                    {"keyid": key_id, "sig": base64.b64encode(signature).decode()}
                    for key_id, signature in sorted(self.signatures.items())
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read an envelope; nothing of it is verified.

        Raises:
            DomainError: SIGNATURE_INVALID.
        """
        document = _object(data)
        if document.get("payloadType") != PAYLOAD_TYPE:
            _refuse(f"its payloadType is {str(document.get('payloadType'))[:80]!r}, not {PAYLOAD_TYPE!r}")
        signatures = document.get("signatures")
        if not isinstance(signatures, list) or not 0 < len(signatures) <= MAX_SIGNATURES:
            _refuse(f"it must have 1 to {MAX_SIGNATURES} signatures")
        return cls(_decoded(document.get("payload"), "payload"), _signatures(signatures))


def sign(manifest: bytes, *keys: SigningKey) -> Envelope:
    """Sign a manifest's bytes with one or several keys."""
    message = signed_bytes(manifest)
    return Envelope(manifest, {key.public.key_id: key.sign(message) for key in keys})


def signed_bytes(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _object(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_ENVELOPE_BYTES:
        _refuse(f"it has {len(data)} bytes; {MAX_ENVELOPE_BYTES} are read")
    document = parse_json(
        data, what="The manifest's signature", limit=MAX_ENVELOPE_BYTES, reason=Reason.SIGNATURE_INVALID
    )
    if not isinstance(document, dict):
        _refuse("it is not a JSON object")
    return document


def _signatures(items: Sequence[Any]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for item in items:
        key_id = item.get("keyid") if isinstance(item, dict) else None
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id) or key_id in found:
            _refuse("a signature's keyid is no key's id, or there twice")
        found[key_id] = _decoded(item.get("sig"), "sig")
        if len(found[key_id]) != SIGNATURE_BYTES:
            _refuse(f"a signature has {len(found[key_id])} bytes, not {SIGNATURE_BYTES}")
    return found


def _decoded(value: object, field: str) -> bytes:
    if not isinstance(value, str):
        _refuse(f"{field} is no text")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # binascii's own for what is ASCII, a plain one for what is not
        _refuse(f"{field} is not base64")


def _refuse(fault: str) -> NoReturn:
    raise DomainError(
        Reason.SIGNATURE_INVALID,
        f"The manifest's signature cannot be used: {fault}. Get the adapter again from where it was published.",
    )
