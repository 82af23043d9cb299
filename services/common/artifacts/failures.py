"""The errors of artifact stores, each worded once."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import DomainError, Reason

RETRY_UNAVAILABLE = 5.0
"""Seconds after which a store that was away may be asked again."""

RETRY_FULL = 60.0
"""Seconds after which somebody may have made room."""

# EFBIG: a file-size limit of the process or of the file system stops the write exactly as a full disk does.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def not_found(project: str, digest: str) -> DomainError:
    """Return the error for a digest that the project has no blob of."""
    return DomainError(
        Reason.ARTIFACT_NOT_FOUND,
        f"Project {project} has no blob {digest}. Upload it first, or check the digest.",
        {"project": project, "digest": digest},
    )


def corrupt(expected: str, actual: str, where: str) -> DomainError:
    """Return the error for bytes that do not have the digest they go by."""
    return DomainError(
        Reason.ARTIFACT_CORRUPT,
        f"The bytes {where} have the digest {actual}, not {expected}. Upload the blob again from its origin.",
        {"expected": expected, "actual": actual},
    )


def too_large(max_bytes: int) -> DomainError:
    """Return the error for more bytes than the caller allows."""
    return DomainError(
        Reason.LIMIT_EXCEEDED,
        f"The upload is larger than the {max_bytes} bytes allowed; nothing was stored. Send less, or raise the limit.",
        {"max_bytes": str(max_bytes)},
    )


def unavailable(place: str, why: str) -> DomainError:
    """Return the error for a store that cannot be used now."""
    return DomainError(
        Reason.ARTIFACT_STORE_UNAVAILABLE,
        f"The artifact store {place} cannot be used now: {why}. Try again once it is back.",
        retry_after=RETRY_UNAVAILABLE,
    )


def full(place: str, why: str) -> DomainError:
    """Return the error for a disk or bucket that takes no more."""
    return DomainError(
        Reason.ARTIFACT_STORE_FULL,
        f"There is no room left in {place}: {why}. Nothing was kept; free some space, then try again.",
        retry_after=RETRY_FULL,
    )


@contextmanager
def store_disk_errors(place: str) -> Iterator[None]:
    """Turn what the file system says about the store at `place` into ARTIFACT_STORE_FULL or …_UNAVAILABLE."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise (full(place, why) if error.errno in _NO_ROOM else unavailable(place, why)) from error


@contextmanager
def local_disk_errors(place: str) -> Iterator[None]:
    """Turn what the file system says about a local file at `place` into …_FULL or DATA_DIRECTORY_UNUSABLE."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise full(place, why) from error
        message = f"{place} cannot be written: {why}. Check that its directory exists and belongs to this user."
        raise DomainError(Reason.DATA_DIRECTORY_UNUSABLE, message) from error
