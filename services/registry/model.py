"""What the registry keeps, as frozen values."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from services.common.identity import FingerprintSummary
from services.common.manifest import ManifestFile, Provenance
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName

T = TypeVar("T")

NEWEST: Final = 2**63 - 1
"""Above the number of every version."""


class VersionState(enum.Enum):
    """Whether a version can be used. It goes from PENDING to READY and from either to REVOKED, and never back."""

    PENDING = "PENDING"
    READY = "READY"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """Some of what was looked for.

    Attributes:
        some: the first of them.
        count: how many there are.
    """

    some: Sequence[T] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class NewBaseModel:
    """A base model as it arrives, checked.

    Attributes:
        name: what it is called from now on.
        display_name: free text.
        fingerprint: follows from the document.
        document: canonical JSON of the whole fingerprint.
        sources: where its files can be had, best first, each once.
    """

    name: BaseModelName
    display_name: str
    fingerprint: FingerprintSummary
    document: bytes
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A registered base model.

    Attributes:
        name: `baseModels/{id}`.
        display_name: free text.
        fingerprint: what it is.
        document: canonical JSON of the whole fingerprint; empty where it was not asked for.
        sources: where its files can be had, best first.
        revision: another one after every change, never used twice.
        create_time: when it was registered.
        update_time: when it was last changed.
    """

    name: BaseModelName
    display_name: str
    fingerprint: FingerprintSummary
    document: bytes
    sources: tuple[str, ...]
    revision: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Adapter:
    """A named line of versions.

    Attributes:
        name: `projects/{project}/adapters/{id}`.
        display_name: free text.
        description: free text.
        revision: another one after every change of it, its versions or its aliases, never used twice.
        create_time: when it was created.
        update_time: when it, its versions or its aliases last changed.
    """

    name: AdapterName
    display_name: str
    description: str
    revision: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version as it arrives, its manifest parsed.

    Attributes:
        name: ends in the SHA-256 of the manifest.
        manifest: its bytes.
        base_model: the base model it was trained on.
        trained_on: what that base was.
        training_job: the job that made it, or empty.
        files: what the manifest names.
        provenance: who vouches for the base that the manifest names.
        signatures: key id → signature of the manifest, by trusted keys; at least one.
    """

    name: AdapterVersionName
    manifest: bytes
    base_model: BaseModelName
    trained_on: FingerprintSummary
    training_job: str
    files: tuple[ManifestFile, ...]
    provenance: Provenance
    signatures: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """A recorded version; all but its state is immutable, and signatures are only ever added.

    Attributes:
        name: ends in the SHA-256 of the manifest.
        manifest: its bytes; empty in lists.
        base_model: the base model it was trained on, by its name then.
        base_fingerprint_id: that base's fingerprint.
        training_job: the job that made it, or empty.
        files: what the manifest names.
        number: grows with every version; newer ones have larger ones.
        provenance: who vouches for the base that the manifest names.
        signatures: key id → signature of the manifest, newest first; by keys that were trusted when they came. Empty
            for a version from before there were signatures.
        create_time: when the manifest arrived.
        ready_time: when every file was found in the store; None until then.
        revoke_time: when it was withdrawn; None if it was not.
        revoke_reason: why it was withdrawn, for people; empty if it was not.
    """

    name: AdapterVersionName
    manifest: bytes
    base_model: BaseModelName
    base_fingerprint_id: str
    training_job: str
    files: tuple[ManifestFile, ...]
    number: int
    provenance: Provenance
    signatures: Mapping[str, bytes]
    create_time: datetime
    ready_time: datetime | None
    revoke_time: datetime | None = None
    revoke_reason: str = ""

    @property
    def state(self) -> VersionState:
        """PENDING until `ready_time`, and REVOKED from `revoke_time` on."""
        if self.revoke_time is not None:
            return VersionState.REVOKED
        return VersionState.PENDING if self.ready_time is None else VersionState.READY


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that points at a READY version of its adapter.

    Attributes:
        name: `projects/{project}/adapters/{adapter}/aliases/{id}`.
        version: where it points.
        revision: another one after every move, never used twice.
        update_time: when it was last moved.
        gated: whether only versions that have learned pass, or those with a reason.
        reason: why its version passed all the same, or why it is gated no more; empty where none was needed.
    """

    name: AliasName
    version: AdapterVersionName
    revision: int
    update_time: datetime
    gated: bool = False
    reason: str = ""


def etag(revision: int) -> str:
    """Return the strong entity tag of a revision (RFC 9110, section 8.8.3)."""
    return f'"{revision:x}"'
