"""The names that may become part of a path or an object key, checked before one is built from them."""

import re
from typing import Final

from services.common.errors import DomainError, Reason, Violation

_PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 80

PROJECTS: Final = "projects/"
"""What everything lies below."""

SUITE: Final = ".tenon-artifacts.suite"
"""Below the root: the id of the suite whose store it is."""


def check_project(project: str) -> None:
    """Accept a slug of at most 63 characters.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if not _PROJECT.fullmatch(project):
        raise _invalid("project", project, "1 to 63 lower-case letters, digits and inner hyphens")


def check_digest(digest: str) -> None:
    """Accept a SHA-256 as 64 lower-case hex digits.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if not _DIGEST.fullmatch(digest):
        raise _invalid("digest", digest, "a SHA-256 as 64 lower-case hex digits")


def check_upload(project: str, expected_digest: str | None) -> None:
    """Accept what names an upload: a project and, where it is known beforehand, a digest.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    check_project(project)
    if expected_digest is not None:
        check_digest(expected_digest)


def project_of_key(key: str) -> str | None:
    """Return the project of a key below the root of a store; None for what is no project's."""
    parts = key.split("/")
    return parts[1] if parts[0] == "projects" and len(parts) > 1 and _PROJECT.fullmatch(parts[1]) else None


def digest_of_key(key: str) -> str | None:
    """Return the digest of a blob's key below the root of a store; None for what is no blob's."""
    project, digest = project_of_key(key), key.rpartition("/")[2]
    is_blob = project is not None and _DIGEST.fullmatch(digest) and key == blob_key(project, digest)
    return digest if is_blob else None


def blobs_prefix(project: str) -> str:
    """Return what all blobs of a project lie below, with a slash at the end.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    check_project(project)
    return f"{PROJECTS}{project}/blobs/sha256/"


def blob_key(project: str, digest: str) -> str:
    """Return where the blob lies, below the root of a store, as a relative path with slashes.

    The project is part of it, so that nobody obtains bytes by knowing the digest of another project's blob.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    check_digest(digest)
    return f"{blobs_prefix(project)}{digest[:2]}/{digest}"


def _invalid(field: str, value: str, wanted: str) -> DomainError:
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    return DomainError(
        Reason.INVALID_ARGUMENT,
        f"The {field} {shown!r} is not valid; it must be {wanted}.",
        violations=(Violation(field, f"must be {wanted}"),),
    )
