"""Adapters, their versions and aliases."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.mapping.times import rfc3339
from gateway.names import last_part
from gateway.schemas.adapters import Adapter, AdapterFile, AdapterVersion, Alias, Provenance, VersionState
from services.common.resource_names import AdapterVersionName
from tenon.registry.v1 import adapter_pb2

_STATES: Final[Mapping[int, VersionState]] = MappingProxyType(
    {
        adapter_pb2.AdapterVersion.STATE_PENDING: "pending",
        adapter_pb2.AdapterVersion.STATE_READY: "ready",
        adapter_pb2.AdapterVersion.STATE_REVOKED: "revoked",
    }
)


def adapter_object(
    adapter: adapter_pb2.Adapter, latest: adapter_pb2.AdapterVersion | None, aliases: Sequence[adapter_pb2.Alias]
) -> Adapter:
    """Write an adapter with the version that answers for it, if there is one, and its aliases."""
    return Adapter(
        id=last_part(adapter.name),
        display_name=adapter.display_name,
        description=adapter.description,
        base_model=last_part(latest.base_model) if latest else None,
        latest_version=last_part(latest.name) if latest else None,
        state=_STATES[latest.state] if latest else None,
        provenance=provenance(latest) if latest else None,
        aliases=[alias_object(alias) for alias in aliases],
        create_time=rfc3339(adapter, "create_time"),
        update_time=rfc3339(adapter, "update_time"),
        etag=adapter.etag,
    )


def version_object(version: adapter_pb2.AdapterVersion) -> AdapterVersion:
    """Write a version."""
    name = AdapterVersionName.parse(version.name)
    return AdapterVersion(
        id=name.version,
        adapter=name.adapter,
        state=_STATES[version.state],
        provenance=provenance(version),
        signed_by=list(version.signer_key_ids),
        base_model=last_part(version.base_model),
        base_fingerprint_id=version.base_fingerprint_id,
        training_job=last_part(version.training_job) or None,
        files=[AdapterFile(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256) for f in version.files],
        create_time=rfc3339(version, "create_time"),
        ready_time=rfc3339(version, "ready_time"),
        revoke_time=rfc3339(version, "revoke_time"),
        revoke_reason=version.revoke_reason or None,
    )


def provenance(version: adapter_pb2.AdapterVersion) -> Provenance:
    """Write who vouches for a version's base."""
    return "declared" if version.provenance == adapter_pb2.PROVENANCE_DECLARED else "witnessed"


def alias_object(alias: adapter_pb2.Alias) -> Alias:
    """Write an alias."""
    return Alias(
        id=last_part(alias.name),
        version=last_part(alias.version),
        update_time=rfc3339(alias, "update_time"),
        etag=alias.etag,
        gated=alias.gated,
        reason=alias.reason or None,
    )
