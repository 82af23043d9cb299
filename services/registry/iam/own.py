"""What the registry's own process needs of who may do what."""

from pathlib import Path

from services.common.auth.guard import AuditEntry
from services.common.auth.keys import is_key, key_digest, key_prefix
from services.common.errors import DomainError, Reason
from services.registry.iam.model import IamStore


class OwnAuditLog:
    """The log, written at once; see `AuditLog`."""

    def __init__(self, store: IamStore) -> None:
        """Write to a store."""
        self._store = store

    async def ready(self) -> None:
        """See `AuditLog.ready`; whatever changes something here needs the same database."""

    async def record(self, entry: AuditEntry) -> None:
        """See `AuditLog.record`."""
        await self._store.record([entry])


class AdminKey:
    """The key that an embedded suite keeps in a file: the database has its digest before anything is served."""

    def __init__(self, store: IamStore, key: str) -> None:
        """Keep a key; it is not kept in the clear for longer than this process lives."""
        self._store = store
        self._prefix, self._digest = key_prefix(key), key_digest(key)
        self._kept = False

    @classmethod
    def of_file(cls, store: IamStore, file: Path) -> "AdminKey":
        """Read the key.

        Raises:
            DomainError: KEY_INVALID.
        """
        try:
            key = file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise DomainError(Reason.KEY_INVALID, f"Cannot read the admin key in {file}.") from None
        if not is_key(key):
            text = f"{file} holds no API key of Tenon's. Remove the file, and a new one is made at the next start."
            raise DomainError(Reason.KEY_INVALID, text)
        return cls(store, key)

    async def check(self) -> None:
        """Have the database know the key; a server is not ready before."""
        if not self._kept:
            await self._store.put_admin_key(self._prefix, self._digest)
            self._kept = True
