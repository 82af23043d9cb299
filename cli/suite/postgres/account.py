"""Whom Postgres runs as. It refuses to run as root; everybody else runs it as themselves."""

import os
import pwd
import sys
from pathlib import Path
from typing import Final

from cli.suite.launcher import Identity
from services.common.errors import DomainError, Reason

DEFAULT_UID: Final = 55432
"""No entry in /etc/passwd is needed or made for it."""

ROOT: Final = 0


def server_identity(data: Path, configured_uid: int) -> Identity | None:
    """Choose whom the server runs as: None for an ordinary user; for root, whoever owns `data`, else the setting."""
    if os.geteuid() != ROOT:
        return None
    if sys.platform != "linux":
        raise DomainError(
            Reason.DATA_DIRECTORY_UNUSABLE,
            "Postgres does not run as root, and only on Linux can Tenon give it a user of its own. "
            "Run this command as an ordinary user.",
        )
    if data.exists() and (owner := data.stat()).st_uid != ROOT:
        return Identity(owner.st_uid, owner.st_gid)
    return Identity(configured_uid, configured_uid)


def initdb_identity(server: Identity | None) -> Identity | None:
    """Choose whom `initdb` runs as: it wants a name for its user, so root lends it one that exists for a second.

    Raises:
        DomainError: DATA_DIRECTORY_UNUSABLE, if there is no user with a name for it.
    """
    if server is None:
        if not _has_name(os.geteuid()):
            raise _nameless(f"this command runs as uid {os.geteuid()}, which has none")
        return None
    if _has_name(server.uid):
        return server
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != ROOT]
    if not others:
        raise _nameless("there is none but root's")
    chosen = next((entry for entry in others if entry.pw_name == "nobody"), others[0])
    return Identity(chosen.pw_uid, chosen.pw_gid)


def give(directory: Path, to: Identity) -> None:
    """Make `to` the owner of `directory` and all that is in it; links are not followed."""
    for _, folders, files, descriptor in os.fwalk(directory):
        os.fchown(descriptor, to.uid, to.gid)
        for name in (*folders, *files):
            os.chown(name, to.uid, to.gid, dir_fd=descriptor, follow_symlinks=False)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nameless(what: str) -> DomainError:
    return DomainError(
        Reason.DATA_DIRECTORY_UNUSABLE,
        f"To make a database, Postgres needs a user with a name in /etc/passwd, and {what}. "
        "Add an entry, for example: tenon:x:12345:12345::/nonexistent:/usr/sbin/nologin",
    )
