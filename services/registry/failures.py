"""The registry's errors, each worded once."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from services.common.errors import DomainError, Reason, Violation
from services.common.manifest import ManifestFile
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from services.registry.model import AdapterVersion

_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {AdapterName: "adapter", AliasName: "alias", BaseModelName: "base_model"}
)


def invalid(field: str, text: str) -> DomainError:
    """Return the error of a field that is wrong; the text is a sentence about it."""
    return DomainError(Reason.INVALID_ARGUMENT, text, {"field": field}, violations=[Violation(field, text)])


def base_model_not_found(name: BaseModelName) -> DomainError:
    """Return the error for a base model nobody registered."""
    text = f"There is no base model {name}. Add it with `tenon base add`, or list those there are."
    return DomainError(Reason.BASE_MODEL_NOT_FOUND, text, {"base_model": str(name)})


def base_model_exists(name: BaseModelName, registered: str, sent: str) -> DomainError:
    """Return the error for an id that is taken by another base; the ids are fingerprints."""
    text = (
        f"{name} is registered with the fingerprint {registered}, this base has {sent}: other bytes are another base "
        "model. Register it under another id."
    )
    return DomainError(
        Reason.BASE_MODEL_EXISTS, text, {"base_model": str(name), "expected_id": registered, "actual_id": sent}
    )


def adapter_not_found(name: AdapterName) -> DomainError:
    """Return the error for an adapter nobody created."""
    text = f"There is no adapter {name}. Check its spelling, or train it first."
    return DomainError(Reason.ADAPTER_NOT_FOUND, text, {"adapter": str(name)})


def adapter_exists(name: AdapterName) -> DomainError:
    """Return the error for an adapter's id that is taken."""
    text = f"There is an adapter {name} already. Choose another id, or add a version to it."
    return DomainError(Reason.ADAPTER_EXISTS, text, {"adapter": str(name)})


def version_not_found(name: AdapterVersionName) -> DomainError:
    """Return the error for a version the adapter does not have."""
    adapter = AdapterName(name.project, name.adapter)
    text = f"The adapter {adapter} has no version {name.version}."
    return DomainError(Reason.ADAPTER_VERSION_NOT_FOUND, text, {"adapter_version": str(name)})


def version_not_ready(name: AdapterVersionName) -> DomainError:
    """Return the error for a version whose files nobody has confirmed."""
    text = f"{name} is not READY: upload the files its manifest names, then finalize it."
    return DomainError(Reason.ADAPTER_VERSION_NOT_READY, text, {"adapter_version": str(name)})


def version_revoked(version: AdapterVersion, revoke_time: datetime) -> DomainError:
    """Return the error for a version that was withdrawn."""
    name = version.name
    when, why = f"{revoke_time.astimezone(UTC):%Y-%m-%d %H:%M}", version.revoke_reason.removesuffix(".")
    text = (
        f"Version {name.version[:12]} of the adapter {name.adapter} was revoked on {when} UTC: {why}. It answers no more. "
        "Ask for another version, or move the alias that points at it (`tenon adapter alias "
        f"{name.adapter} ALIAS VERSION`)."
    )
    return DomainError(Reason.ADAPTER_VERSION_REVOKED, text, {"adapter_version": str(name)})


def alias_not_found(name: AliasName) -> DomainError:
    """Return the error for an alias the adapter does not have."""
    adapter = AdapterName(name.project, name.adapter)
    text = f"The adapter {adapter} has no alias {name.alias!r}. Point it at a READY version first."
    return DomainError(Reason.ALIAS_NOT_FOUND, text, {"alias": str(name)})


def check_etag(name: AdapterName | AliasName | BaseModelName, sent: str, current: str | None) -> None:
    """Refuse to change what was changed or removed since it was read; an empty etag is any.

    Raises:
        DomainError: ETAG_MISMATCH.
    """
    if not sent or sent == current:
        return
    happened = "does not exist any more" if current is None else f"has the etag {current} now"
    text = f"{name} {happened}, not {sent[:80]}: it was changed since it was read. Read it again, then decide again."
    raise DomainError(Reason.ETAG_MISMATCH, text, {_KINDS[type(name)]: str(name)})


def files_missing(name: AdapterVersionName, faults: Sequence[tuple[ManifestFile, str]]) -> DomainError:
    """Return the error for files that the store does not have as the manifest names them."""
    paths = ", ".join(file.path for file, _ in faults[:5])
    text = (
        f"{len(faults)} of the files that {name} names are not in the artifact store as its manifest says: {paths}"
        f"{' and others' if len(faults) > 5 else ''}. Upload them, then finalize the version again."
    )
    return DomainError(
        Reason.ADAPTER_FILES_MISSING,
        text,
        {"adapter_version": str(name), "missing": str(len(faults))},
        violations=[Violation(file.path, fault) for file, fault in faults],
    )
