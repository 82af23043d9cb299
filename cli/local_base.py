"""A base model in a directory of this machine, for the commands that need no suite."""

import os
import re
import sys
from pathlib import Path
from typing import Final

import click

from cli.user_directories import cache_directory
from services.common.identity import BaseFingerprint, DigestCache, OpenBase

PATH: Final = click.Path(path_type=Path, readable=False)
"""An argument that names a file or directory. Whether it can be read is found out, and said, where it is read."""

rehash_option = click.option(
    "--rehash", is_flag=True, help="Hash every file of the base, also those that have not changed since last time."
)


def fingerprint_of(base: OpenBase, *, rehash: bool, derived_from: str | None = None) -> BaseFingerprint:
    """The fingerprint of an open base; files that this user had hashed before are not hashed again.

    Args:
        base: the base.
        rehash: hash them all the same.
        derived_from: id of the base this one is declared a derivative of.

    Raises:
        DomainError: see `OpenBase.fingerprint`.
    """
    if sys.stderr.isatty():  # the first time takes as long as reading the disk does
        click.echo(f"Reading the base {base.directory} …", err=True)
    place = cache_directory()
    cache = DigestCache(place / "digests", verify_always=rehash) if place else None
    return base.fingerprint(cache=cache, derived_from=derived_from)


def base_label(directory: Path) -> str:
    """What to call the base in a directory: the directory's name, as it was given."""
    return Path(os.path.abspath(directory)).name or "this base"  # noqa: PTH100 - keeps the name of a symbolic link


def slug(label: str) -> str:
    """A valid id made from what people call a base: ``Qwen/Qwen2.5-0.5B`` gives ``qwen2.5-0.5b``."""
    last = label.rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last)[:63].strip("-._") or "base"
