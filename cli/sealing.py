"""A manifest and a signature for an adapter that lies in a directory of this machine."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cli.suite.files import write_atomically
from services.common.admission.directory import ENVELOPE_FILE, MANIFEST_FILE, read_file
from services.common.admission.listed import check_agrees, check_file, needed_files
from services.common.admission.seal import make_declared
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, FingerprintSummary, compare, mismatch_error
from services.common.manifest import AdapterManifest, Provenance
from services.common.resource_names import BaseModelName, check_slug
from services.common.signing import Envelope, SigningKey, TrustedKeys, sign
from services.common.signing.envelope import MAX_SIGNATURES

READABLE: Final = 0o644
"""Manifests and signatures are public, as the files that they are about."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What somebody says of an adapter, and who says it.

    Attributes:
        base: the base that it was trained on.
        label: what people call that base.
        base_model: the id it is or would be registered under.
        renames: whether a manifest that gives the base another id is wrong.
        key: signs for it.
        trusted: whose manifests are signed as they are.
        force: whether a manifest that says something else is replaced.
    """

    base: BaseFingerprint
    label: str
    base_model: str
    renames: bool
    key: SigningKey
    trusted: TrustedKeys
    force: bool = False


@dataclass(frozen=True, slots=True)
class Sealed:
    """What lies beside the adapter now.

    Attributes:
        manifest: says what it is.
        signers: ids of the keys that signed that, sorted.
        replaced: the provenance that a manifest said which is there no more; None where there was none.
    """

    manifest: AdapterManifest
    signers: tuple[str, ...]
    replaced: Provenance | None


def check_writable(directory: Path) -> None:
    """Make sure that files can be put into a directory before much work is done for them.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _cannot_write(directory, "it is read-only for this user")


def seal(directory: Path, declaration: Declaration) -> Sealed:
    """Check an adapter, and write its manifest and a signature beside it; what is there already is completed.

    The same directory and key give the same bytes. A manifest appears before its signature, so that a seal cut short
    leaves an adapter that nobody vouches for, and that can be sealed again.

    Raises:
        DomainError: whatever speaks against the adapter, or against the manifest that it has already; INVALID_ARGUMENT
            where a name is no id, or the files cannot be written.
    """
    name = str(BaseModelName(check_slug(declaration.base_model, "base-name")))
    made = make_declared(directory, declaration.base, name)
    before, envelope = read_file(directory, MANIFEST_FILE), read_file(directory, ENVELOPE_FILE)
    manifest = made
    if before is not None and not declaration.force:
        manifest = _kept(directory, before, envelope, made, declaration)
    payload = manifest.to_bytes()
    signed = _signed(payload, envelope, declaration)
    try:
        if payload != before:
            write_atomically(directory / MANIFEST_FILE, payload.decode(), mode=READABLE)
        if (data := signed.to_bytes()) != envelope:
            write_atomically(directory / ENVELOPE_FILE, data.decode(), mode=READABLE)
    except OSError as error:
        raise _cannot_write(directory, error.strerror or str(error)) from None
    return Sealed(manifest, tuple(sorted(signed.signatures)), _replaced(before, payload))


def _kept(
    directory: Path, before: bytes, envelope: bytes | None, made: AdapterManifest, declaration: Declaration
) -> AdapterManifest:
    """The manifest that is there, if it says the same of these files or a trusted key vouches for all it says."""
    try:
        manifest = AdapterManifest.from_bytes(before)
        _check_same(manifest, made, declaration)
        if replace(manifest, base_model=made.base_model) != made:
            declaration.trusted.verify(envelope, before)
    except DomainError as error:
        raise DomainError(
            error.reason,
            f"{directory} has a {MANIFEST_FILE} already, which cannot be signed as it is. {error.message}\nPass --force to "
            "replace it by your own declaration.",
            error.metadata,
        ) from None
    return manifest


def _check_same(manifest: AdapterManifest, made: AdapterManifest, declaration: Declaration) -> None:
    """A manifest must be of this base and of these files."""
    comparison = compare(FingerprintSummary.from_summary(manifest.base), declaration.base)
    if not comparison.admissible:
        raise mismatch_error(comparison, expected_name=manifest.base_model, actual_name=declaration.label)
    if declaration.renames and manifest.base_model != made.base_model:
        raise DomainError(
            Reason.INVALID_ARGUMENT,
            f"It calls the base {manifest.base_model}, not {made.base_model}; leave out --base-name.",
        )
    for found, listed in zip(made.files, needed_files(manifest), strict=True):
        check_file(listed, size=found.size, sha256=found.sha256)
    check_agrees(made.peft, manifest)


def _signed(payload: bytes, envelope: bytes | None, declaration: Declaration) -> Envelope:
    """The payload with a signature more; signatures of another payload are worth nothing and go."""
    signatures = {**_others(payload, envelope), **sign(payload, declaration.key).signatures}
    if len(signatures) > MAX_SIGNATURES:
        raise DomainError(
            Reason.LIMIT_EXCEEDED,
            f"{ENVELOPE_FILE} has {MAX_SIGNATURES} signatures already. Remove the file to sign without them.",
        )
    return Envelope(payload, signatures)


def _others(payload: bytes, envelope: bytes | None) -> dict[str, bytes]:
    try:
        before = Envelope.from_bytes(envelope) if envelope else None
    except DomainError:
        return {}
    return dict(before.signatures) if before and before.payload == payload else {}


def _replaced(before: bytes | None, payload: bytes) -> Provenance | None:
    if before is None or before == payload:
        return None
    try:
        return AdapterManifest.from_bytes(before).provenance
    except DomainError:
        return None


def _cannot_write(directory: Path, why: str) -> DomainError:
    return DomainError(
        Reason.INVALID_ARGUMENT, f"{directory} cannot be written to: {why}. Seal a copy of it in a place that can."
    )
