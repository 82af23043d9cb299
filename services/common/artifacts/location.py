"""The URL that says where artifacts are, read into its parts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from services.common.errors import DomainError, Reason

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?!\.\.?(/|$))[A-Za-z0-9._-]+(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class DirectoryLocation:
    """A directory of this machine, absolute."""

    path: Path


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """A bucket and the prefix of its keys, which has no slashes around it and may be empty."""

    bucket: str
    prefix: str


Location: TypeAlias = DirectoryLocation | BucketLocation


def parse_location(url: str) -> Location:
    """Read `file:///directory` (percent-encoded, as `Path.as_uri` writes it) or `s3://bucket/prefix`.

    Raises:
        DomainError: SETTINGS_INVALID. The text does not repeat the URL: people put passwords into URLs.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _invalid("it is no URL") from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise _invalid("it must have no user, password, query or fragment")
    if parts.scheme == "file":
        return _directory(parts)
    if parts.scheme == "s3":
        return _bucket(parts)
    raise _invalid("it must begin with file:// or s3://")


def _directory(parts: SplitResult) -> DirectoryLocation:
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise _invalid("after file:// comes an absolute directory, so there are three slashes")
    return DirectoryLocation(Path(path))


def _bucket(parts: SplitResult) -> BucketLocation:
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc):
        raise _invalid("after s3:// comes a bucket: 3 to 63 lower-case letters, digits, dots and hyphens")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise _invalid("the prefix may have letters, digits, dots, underscores and hyphens between single slashes")
    return BucketLocation(parts.netloc, prefix)


def _invalid(why: str) -> DomainError:
    return DomainError(
        Reason.SETTINGS_INVALID,
        f"TENON_ARTIFACTS_URL is not valid: {why}. Examples: file:///var/lib/tenon/artifacts, s3://bucket/prefix.",
    )
