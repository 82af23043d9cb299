"""Trusted keys that follow their files: one that is added or withdrawn counts from the next check on, without a restart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import structlog

from services.common.errors import DomainError
from services.common.signing.keys import PublicKey
from services.common.signing.trust import MAX_KEYS, TrustedKeys, key_files

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_Stamp = tuple[tuple[Path, tuple[int, ...] | None], ...]


class TrustStore:
    """The keys of files and directories, read again when one of the files has changed.

    At first every file must be a key. Later one that is not, such as one that is being written, is left out with a
    warning: it must not keep a key trusted that was withdrawn beside it.
    """

    def __init__(self, paths: Sequence[Path], keys: TrustedKeys, stamp: _Stamp) -> None:
        """Hold what was read; `open` is the way to have one."""
        self._paths: Final = paths
        # Replaced as one value, so that threads need no lock.
        self._read = (stamp, keys)

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Self:
        """Read PEM files, and directories of them (``*.pem``).

        Raises:
            DomainError: KEY_INVALID for a file that is no key or not there; an empty directory holds no keys.
        """
        stamp = _stamp(paths)
        return cls(paths, TrustedKeys.load(paths), stamp)

    def current(self) -> TrustedKeys:
        """The keys as the files are now; the same object for as long as no file has changed. Looks at the files' dates."""
        stamp = _stamp(self._paths)
        known, keys = self._read
        if stamp != known:
            keys = TrustedKeys(_readable(self._paths))
            self._read = (stamp, keys)
            log.info("trusted keys read again", key_ids=[key_id[:12] for key_id in keys.key_ids])
        return keys

    def verify(self, envelope: bytes | None, manifest: bytes) -> str:
        """See `TrustedKeys.verify`."""
        return self.current().verify(envelope, manifest)

    def valid_signatures(self, envelope: bytes | None, manifest: bytes) -> Mapping[str, bytes]:
        """See `TrustedKeys.valid_signatures`."""
        return self.current().valid_signatures(envelope, manifest)


def _stamp(paths: Sequence[Path]) -> _Stamp:
    return tuple((file, _state(file)) for file in key_files(paths))


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _readable(paths: Sequence[Path]) -> Iterator[PublicKey]:
    for file in list(key_files(paths))[:MAX_KEYS]:
        try:
            yield PublicKey.load(file)
        except DomainError as error:
            log.warning("a key is not trusted any more", fault=error.message)
