"""What an archive says of itself: at its beginning its format, at its end all that must be in it."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.suite.backup.layout import Kind, Member
from cli.suite.postgres.programs import MAJOR_VERSION
from services.common.artifacts.store import Blob
from services.common.db.migrations import check_applied, load_migrations
from services.common.errors import DomainError, Reason

FORMAT: Final = 1
"""Version of the archive's layout. It rises when an older Tenon could no longer read what a newer one wrote."""

SCHEMAS: Final[Mapping[str, str]] = {
    "registry": "services.registry.migrations",
    "iam": "services.registry.iam.migrations",
    "trainer": "services.trainer.storage.migrations",
}
"""Each schema of the database and the package of its migrations."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a document.

        Raises:
            DomainError: INVALID_ARGUMENT.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "JSON"
            text = f"This is no backup that Tenon wrote: {where} is wrong in its {cls.__name__.lower()}."
            raise DomainError(Reason.INVALID_ARGUMENT, text) from None

    def to_bytes(self) -> bytes:
        """Write the document."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Header(_Document):
    """The first member.

    Attributes:
        format: of the archive.
        tenon: the version that wrote it.
    """

    format: Count
    tenon: Annotated[str, Field(max_length=100)]

    @classmethod
    def own(cls) -> Self:
        """Make this version's."""
        return cls(format=FORMAT, tenon=version("tenon"))

    def check(self) -> None:
        """Refuse a format that this version does not know.

        Raises:
            DomainError: DATA_DIRECTORY_INCOMPATIBLE.
        """
        if self.format != FORMAT:
            raise DomainError(
                Reason.DATA_DIRECTORY_INCOMPATIBLE,
                f"The backup has format {self.format} and was written by Tenon {self.tenon}; this version knows format "
                f"{FORMAT}. Restore it with the version that wrote it, or a newer one.",
            )


class Content(_Document):
    """Bytes, or several of them together.

    Attributes:
        count: how many members they are.
        size: bytes.
        sha256: of the bytes; of blobs, of the lines `DIGEST SIZE NAME` in the order of the archive.
    """

    count: Count = 1
    size: Count
    sha256: Sha256


class LeftOut(_Document):
    """A blob that should be in the archive, and that `--skip-damaged` left out.

    Attributes:
        project: whose it is.
        digest: of the blob.
        what: the resource that refers to it.
        reason: ARTIFACT_CORRUPT or ARTIFACT_NOT_FOUND.
    """

    project: str
    digest: Sha256
    what: str
    reason: str


class Manifest(_Document):
    """The last member.

    Attributes:
        create_time: when the database was as it is in the archive.
        postgres: major version of the server that the database came from.
        schemas: digests of the migrations that each schema had seen, by their versions.
        database: the dump; `count` pieces.
        keys: each key by its name.
        blobs: all of them.
        left_out: what is missing.
    """

    create_time: datetime
    postgres: Count
    schemas: dict[str, dict[int, Sha256]]
    database: Content
    keys: dict[str, Content]
    blobs: Content
    left_out: tuple[LeftOut, ...] = ()

    def check_versions(self) -> None:
        """Refuse a database of a newer Tenon or Postgres.

        Raises:
            DomainError: DATABASE_TOO_NEW; DATA_DIRECTORY_INCOMPATIBLE.
        """
        if self.postgres > MAJOR_VERSION:
            raise DomainError(
                Reason.DATA_DIRECTORY_INCOMPATIBLE,
                f"The backup is of PostgreSQL {self.postgres}; this version of Tenon brings PostgreSQL {MAJOR_VERSION}. "
                "Restore it with the version of Tenon that wrote it, or a newer one.",
            )
        for schema, applied in self.schemas.items():
            if schema not in SCHEMAS:
                text = f"The backup has a schema {schema[:64]!r}, which this version of Tenon does not know."
                raise DomainError(Reason.DATABASE_TOO_NEW, f"{text} Restore it with the version that wrote it.")
            check_applied(load_migrations(SCHEMAS[schema]), applied, schema)


class Tally:
    """Counts the members of an archive while it is written or read, for the manifest to be made of or held against."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._names: set[str] = set()
        self._keys: dict[str, Content] = {}
        self._blobs, self._blob_count, self._blob_bytes = sha256(), 0, 0
        self._database, self._pieces, self._database_bytes = sha256(), 0, 0

    def __contains__(self, member: Member) -> bool:
        """Whether the member is there already."""
        return member.name in self._names

    def begin(self, member: Member) -> None:
        """Expect a member, each once, and the pieces of the database in order.

        Raises:
            DomainError: INVALID_ARGUMENT.
        """
        if member in self or (member.kind is Kind.DATABASE and member.number != self._pieces):
            text = f"The archive has {member.name[:120]!r} twice or in the wrong place."
            raise DomainError(Reason.INVALID_ARGUMENT, text)
        self._names.add(member.name)

    def database(self, chunk: bytes) -> None:
        """Take note of some bytes of the dump."""
        self._database.update(chunk)

    def end(self, member: Member, found: Blob) -> None:
        """Take note of a member that is complete."""
        if member.kind is Kind.KEY:
            self._keys[member.name] = Content(size=found.size, sha256=found.digest)
        elif member.kind is Kind.BLOB:
            self._blobs.update(f"{found.digest} {found.size} {member.name}\n".encode())
            self._blob_count += 1
            self._blob_bytes += found.size
        elif member.kind is Kind.DATABASE:
            self._pieces += 1
            self._database_bytes += found.size

    def contents(self) -> tuple[Content, dict[str, Content], Content]:
        """Answer what there was: the database, the keys, the blobs."""
        database = Content(count=self._pieces, size=self._database_bytes, sha256=self._database.hexdigest())
        blobs = Content(count=self._blob_count, size=self._blob_bytes, sha256=self._blobs.hexdigest())
        return database, dict(self._keys), blobs

    def check(self, manifest: Manifest) -> None:
        """Hold what there was against what should be there.

        Raises:
            DomainError: ARTIFACT_CORRUPT.
        """
        database, keys, blobs = self.contents()
        pairs: dict[str, tuple[Content | None, Content | None]]
        pairs = {"database": (database, manifest.database), "blobs": (blobs, manifest.blobs)}
        for name in manifest.keys.keys() | keys.keys():
            pairs[name] = keys.get(name), manifest.keys.get(name)
        wrong = sorted(name for name, (found, expected) in pairs.items() if found != expected)
        if wrong:
            text = f"The archive is damaged: {', '.join(wrong)[:400]} differ from what its manifest says."
            raise DomainError(Reason.ARTIFACT_CORRUPT, text, {"members": ", ".join(wrong)[:1000]})
