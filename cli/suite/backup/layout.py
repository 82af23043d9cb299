"""The names in an archive, each checked before anything is made of it, and in which order they come.

`tenon-backup.json`, then blobs, keys, the database in pieces, and at the end `manifest.json`: an archive that was cut off
has none, and one of a newer format is refused at its first member.
"""

import re
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from services.common.artifacts.names import blob_key
from services.common.errors import DomainError, Reason

MIB: Final = 1 << 20

HEADER: Final = "tenon-backup.json"
MANIFEST: Final = "manifest.json"
SIGNING_KEY: Final = "keys/signing.pem"
ADMIN_KEY: Final = "run/admin.key"
TRUSTED_KEYS: Final = "keys/trusted"

PIECE_BYTES: Final = 8 * MIB
"""Of the database: how long a dump is shows only when it has ended, and a member's size comes before its bytes."""

_SHOWN: Final = 120
_PIECE: Final = re.compile(r"[0-9]{6}")
# A file's name and nothing else, which a person can read.
_KEY_FILE: Final = re.compile(r"[^/\x00-\x1f\x7f]{1,200}\.pem")


class Kind(Enum):
    """What a member is."""

    HEADER = "header"
    BLOB = "blob"
    KEY = "key"
    DATABASE = "database"
    MANIFEST = "manifest"


MOST_BYTES: Final = MappingProxyType(
    {Kind.HEADER: MIB, Kind.KEY: MIB // 16, Kind.DATABASE: PIECE_BYTES, Kind.MANIFEST: 64 * MIB}
)
"""What is read into memory has a limit; blobs are streamed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        kind: what it is.
        name: in the archive; of a key also its place below the data directory.
        project: of a blob.
        digest: of a blob, as its name says.
        number: of a piece of the database, from 0.
    """

    kind: Kind
    name: str
    project: str = ""
    digest: str = ""
    number: int = 0

    @classmethod
    def blob(cls, project: str, digest: str) -> "Member":
        """Name a blob."""
        return cls(Kind.BLOB, f"blobs/{project}/{digest}", project=project, digest=digest)

    @classmethod
    def piece(cls, number: int) -> "Member":
        """Name a piece of the database."""
        return cls(Kind.DATABASE, f"database/{number:06}", number=number)

    @classmethod
    def trusted_key(cls, file: str) -> "Member":
        """Name a public key by its file.

        Raises:
            DomainError: KEY_INVALID, if the name is none that a backup can hold.
        """
        if not _is_key_file(file):
            raise DomainError(
                Reason.KEY_INVALID,
                f"The trusted key {file[:_SHOWN]!r} has a name that a backup cannot hold; rename it to a plain NAME.pem.",
            )
        return cls(Kind.KEY, f"{TRUSTED_KEYS}/{file}")


def parse_member(name: str) -> Member:
    """Tell what a member is by its name.

    Raises:
        DomainError: INVALID_ARGUMENT, for every name that no backup has.
    """
    match name.split("/"):
        case ["tenon-backup.json"]:
            return Member(Kind.HEADER, name)
        case ["manifest.json"]:
            return Member(Kind.MANIFEST, name)
        case ["keys", "signing.pem"] | ["run", "admin.key"]:
            return Member(Kind.KEY, name)
        case ["keys", "trusted", file] if _is_key_file(file):
            return Member(Kind.KEY, name)
        case ["database", number] if _PIECE.fullmatch(number):
            return Member.piece(int(number))
        case ["blobs", project, digest]:
            blob_key(project, digest)
            return Member.blob(project, digest)
        case _:
            text = f"No backup of Tenon's has a member {name[:_SHOWN]!r}."
            raise DomainError(Reason.INVALID_ARGUMENT, text)


def _is_key_file(name: str) -> bool:
    if not _KEY_FILE.fullmatch(name):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return True
