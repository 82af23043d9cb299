"""Free text and lists from outside: limits, and what a database can keep."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from services.common.bases import hub, local
from services.common.errors import DomainError, Reason
from services.registry.failures import invalid

MAX_DISPLAY_NAME: Final = 256
MAX_DESCRIPTION: Final = 8192
MAX_REVOKE_REASON: Final = 1000
MAX_SOURCES: Final = 32
MAX_SOURCE: Final = 2048

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# Unicode's categories of control characters, and of separators of lines and paragraphs.
_NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp"})
# Bucket names as S3 has them; the prefix is a path without empty, '.' or '..' parts.
_S3: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/(?!\.{1,2}(?:/|$))[^/\x00-\x20]+)*/?")


def check_text(value: str, field: str, maximum: int) -> str:
    """Return free text as it is.

    Raises:
        DomainError: INVALID_ARGUMENT: it is longer than `maximum` characters, or holds a NUL.
    """
    if len(value) > maximum:
        raise invalid(field, f"{field} has {len(value)} characters; {maximum} are allowed.")
    if "\0" in value:
        raise invalid(field, f"{field} holds a NUL character; leave it out.")
    return value


def check_line(value: str, field: str, maximum: int) -> str:
    """Return a line of free text without the spaces around it. It is shown in errors and terminals.

    Raises:
        DomainError: INVALID_ARGUMENT: it is empty, longer than `maximum` characters, or holds control characters.
    """
    line = check_text(value, field, maximum).strip()
    if any(unicodedata.category(character) in _NOT_IN_A_LINE for character in line):
        raise invalid(field, f"{field} holds line breaks or other control characters; leave them out.")
    if not line:
        raise invalid(field, f"{field} is empty; say it in a few words.")
    return line


def check_sources(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the sources of a base model, each once.

    Raises:
        DomainError: INVALID_ARGUMENT: there are none, or too many; BASE_SOURCE_INVALID: one is malformed.
    """
    if not sources:
        raise invalid("base_model.sources", "A base model needs at least one source: hf://repo@commit or file:///path.")
    unique = tuple(dict.fromkeys(map(_check_source, sources)))
    if len(unique) > MAX_SOURCES:
        raise invalid("base_model.sources", f"There are {len(unique)} sources; {MAX_SOURCES} are allowed.")
    return unique


def _check_source(source: str) -> str:
    if len(source) > MAX_SOURCE or "\0" in source:
        raise _bad_source(source, f"is longer than {MAX_SOURCE} characters or holds a NUL")
    scheme, separator, _ = source.partition("://")
    match scheme if separator else "":
        case "hf":
            if not _COMMIT.fullmatch(hub.parse(source).revision):
                raise _bad_source(source, "names no commit; write hf://repository@ and the 40 digits of the commit")
        case "file":
            local.parse(source)
        case "s3":
            if not _S3.fullmatch(source):
                raise _bad_source(source, "is not of the form s3://bucket/prefix")
        case _:
            raise _bad_source(
                source, "is of no known kind; use hf://repository@commit, file:///path or s3://bucket/prefix"
            )
    return source


def _bad_source(source: str, fault: str) -> DomainError:
    shown = source if len(source) <= 200 else f"{source[:197]}..."
    return DomainError(Reason.BASE_SOURCE_INVALID, f"The source {shown!r} {fault}.", {"source": shown})
