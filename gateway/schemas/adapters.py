"""Adapters, their versions and aliases."""

from typing import Literal

from pydantic import ConfigDict, Field

from gateway.schemas.common import Accepted, Answered, Query

Provenance = Literal["witnessed", "declared"]
"""Who vouches for an adapter's base: Tenon, which trained it on that base, or somebody who says so and signed for it."""

VersionState = Literal["pending", "ready", "revoked"]


class Alias(Answered):
    """A name that points at a version."""

    id: str
    object: Literal["alias"] = "alias"
    version: str
    update_time: str | None
    etag: str
    gated: bool = Field(description="Whether it moves only to versions that have learned, or with a reason.")
    reason: str | None = Field(description="Why its version passed the gate all the same; null where none was needed.")


class Adapter(Answered):
    """A named line of versions."""

    id: str
    object: Literal["adapter"] = "adapter"
    display_name: str
    description: str
    base_model: str | None = Field(description="The base of latest_version.")
    latest_version: str | None = Field(description="What the alias latest points at; null while there is none.")
    state: VersionState | None = Field(description="State of latest_version: it answers while it is ready.")
    provenance: Provenance | None = Field(description="Who vouches for the base of latest_version.")
    aliases: list[Alias]
    create_time: str | None
    update_time: str | None
    etag: str


class AdapterFile(Answered):
    """A file of a version."""

    path: str
    size_bytes: int
    sha256: str


class AdapterVersion(Answered):
    """One trained result."""

    id: str
    object: Literal["adapter_version"] = "adapter_version"
    adapter: str
    state: VersionState
    provenance: Provenance
    signed_by: list[str] = Field(description="Ids of the keys that signed it, newest first.")
    base_model: str
    base_fingerprint_id: str
    training_job: str | None
    files: list[AdapterFile]
    create_time: str | None
    ready_time: str | None
    revoke_time: str | None
    revoke_reason: str | None


class DeleteAdapter(Query):
    """How to delete an adapter."""

    force: bool = Field(False, description="Delete its versions and aliases as well.")
    etag: str = Field("", max_length=256, description="Delete it only while it has this etag.")


class DeleteAlias(Query):
    """How to delete an alias."""

    etag: str = Field("", max_length=256, description="Delete it only while it has this etag.")


class RevokeVersion(Accepted):
    """Why a version is withdrawn."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "It was trained on the wrong data."}})

    reason: str = Field(max_length=1000, description="A line for people; it is told to whoever asks for the version.")


class MoveAlias(Accepted):
    """Where an alias shall point, and whether it is gated."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"version": "fcc29bf941e7b74034ac2e4979b88dd2c6ec4a15ac83c685d03a9f309158aada"}}
    )

    version: str | None = Field(
        None, max_length=256, description="A version of the adapter, by its digest; left out, only the gate is set."
    )
    etag: str = Field("", max_length=256, description="Move it only while it has this etag.")
    gated: bool | None = Field(
        None, description="Let it move only to versions that have learned, or with a reason; left out, as it is."
    )
    reason: str = Field("", max_length=1000, description="Why a gate shall let it pass all the same; it is kept.")
