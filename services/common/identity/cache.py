"""Digests of files hashed before, kept on disk so that the next start does not hash them again."""

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from services.common.identity.canonical import canonical_json, digest_of
from services.common.identity.files import FileIdentity

__all__ = ["DigestCache"]

MAX_ENTRY_BYTES: Final = 64 * 1024 * 1024
SETTLED_NS: Final = 100_000_000
"""A file written less than this ago may be written again within the same tick of the clock: it is not remembered."""
FORMAT: Final = "tenon.digests/1"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class DigestCache:
    """Content digests by (device, inode, size, mtime_ns, ctime_ns, header digest), one small file each.

    The kernel sets ctime, not the writer, so a file cannot change and keep its key short of setting the clock back.
    The directory is the owner's alone (0700): who can write in it can make a base pass for another. An entry that
    cannot be read counts as absent; a cache that cannot be written is no error.
    """

    def __init__(self, directory: Path, *, verify_always: bool = False) -> None:
        """Use a directory, made on the first entry.

        Args:
            directory: belongs to this cache alone.
            verify_always: hash every time; entries are still written.
        """
        self._directory = directory
        self._verify_always = verify_always

    def get(self, identity: FileIdentity, header_digest: str) -> dict[str, str] | None:
        """Name → digest as stored, or None."""
        if self._verify_always:
            return None
        return self._read(self._path(identity), _key(identity, header_digest))

    def put(self, identity: FileIdentity, header_digest: str, digests: Mapping[str, str]) -> None:
        """Remember, replacing what was known of an earlier state of the same file."""
        if time.time_ns() - max(identity.mtime_ns, identity.ctime_ns) < SETTLED_NS:
            return
        self._write(self._path(identity), _key(identity, header_digest), digests)

    def get_document(self, content: str) -> str | None:
        """The digest derived from a document of this SHA-256, or None."""
        if self._verify_always:
            return None
        return (self._read(self._document_path(content), [content]) or {}).get("digest")

    def put_document(self, content: str, digest: str) -> None:
        """Remember what was derived from a document of this SHA-256."""
        self._write(self._document_path(content), [content], {"digest": digest})

    def _read(self, path: Path, key: list[str]) -> dict[str, str] | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_ENTRY_BYTES + 1)
            entry = json.loads(data) if len(data) <= MAX_ENTRY_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None
        return _digests(entry, key)

    def _write(self, path: Path, key: list[str], digests: Mapping[str, str]) -> None:
        entry = {"format": FORMAT, "key": key, "digests": dict(digests)}
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_atomically(path, canonical_json(entry))

    def _document_path(self, content: str) -> Path:
        return self._directory / f"document-{content}.json"

    def _path(self, identity: FileIdentity) -> Path:
        return self._directory / f"{digest_of([str(identity.device), str(identity.inode)])}.json"


def _key(identity: FileIdentity, header_digest: str) -> list[str]:
    numbers = (identity.device, identity.inode, identity.size, identity.mtime_ns, identity.ctime_ns)
    return [*map(str, numbers), header_digest]


def _digests(entry: Any, key: list[str]) -> dict[str, str] | None:
    if not isinstance(entry, dict) or entry.get("format") != FORMAT or entry.get("key") != key:
        return None
    digests = entry.get("digests")
    if not isinstance(digests, dict):
        return None
    if not all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in digests.values()):
        return None
    return digests


def _write_atomically(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".entry-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
