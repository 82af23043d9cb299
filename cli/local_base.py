"""A base model in a directory of this machine, for the commands that need no suite."""

import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import Final

import click

from cli.user_directories import cache_directory
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, DigestCache, OpenBase, open_base

PATH: Final = click.Path(path_type=Path, readable=False)
"""An argument that names a file or directory. Whether it can be read is found out, and said, where it is read."""

rehash_option = click.option(
    "--rehash", is_flag=True, help="Hash every file of the base, also those that have not changed since last time."
)


def open_local_base(directory: Path) -> OpenBase:
    """Open a base; where a name or source is given in place of a directory, say that it is none.

    Raises:
        DomainError: see `open_base`.
    """
    try:
        return open_base(directory)
    except DomainError as error:
        if error.reason is not Reason.BASE_NOT_A_MODEL or not _is_name_or_source(directory):
            raise
        text = (
            "This command takes the directory of a base, and neither the id of a registered one nor a source such as "
            "hf://; `tenon base list --json` tells the sources of those that are registered."
        )
        raise DomainError(error.reason, f"{error.message}\n{text}", error.metadata) from None


def _is_name_or_source(path: Path) -> bool:
    first, *others = path.parts or ("",)
    # `Path` makes hf:/x of hf://x.
    return not path.exists() and (first.endswith(":") or not others)


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


def slug(label: str, *, option: str) -> str:
    """A valid id made from what people call a base: ``Qwen/Qwen2.5-0.5B`` gives ``qwen2.5-0.5b``.

    Args:
        label: what they call it.
        option: the flag that says another id.

    Raises:
        DomainError: INVALID_ARGUMENT where letters or digits would be lost, or nothing would be left.
    """
    last = label.rpartition("/")[2]
    made = re.sub(r"[^a-z0-9._-]+", "-", last.lower())[:63].strip("-._")
    if not made or any(_is_lost(character) for character in last):
        raise DomainError(
            Reason.INVALID_ARGUMENT,
            f"No id can be made of the name {label[:80]!r}, because ids have only a-z, 0-9, '-', '_' and '.'. Give one "
            f"with {option}.",
            {"field": option.removeprefix("--")},
        )
    return made


def _is_lost(character: str) -> bool:
    """Letters, marks on them and digits tell names apart; spaces and punctuation do not."""
    return not character.isascii() and unicodedata.category(character)[0] in "LMN"
