"""The keys of whoever runs the command line: their own, which `tenon seal` signs with, and those they trust."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from cli.user_directories import config_directory, data_directory
from services.common.errors import DomainError, Reason
from services.common.signing import SigningKey, TrustedKeys, make_key_file

OWN_KEY: Final = Path("keys", "own.pem")
"""The user's own key, below the directory of the configuration."""
SUITE_KEYS: Final = Path("keys", "trusted")
"""The public keys that a suite trusts, below its data directory."""


def signing_key(given: Path | None) -> SigningKey:
    """The key to sign with: the one in a file, else the user's own, which is made and announced on first use.

    Raises:
        DomainError: KEY_INVALID for a file that holds no key or cannot be written; SETTINGS_INVALID where there is no
            place for a key of the user's own.
    """
    if given is not None:
        return SigningKey.load(given)
    directory = config_directory()
    if directory is None:
        raise DomainError(Reason.SETTINGS_INVALID, "This user has no home directory. Say which key to use with --key.")
    file = directory / OWN_KEY
    is_new = not _is_there(file)
    key = make_key_file(file)
    if is_new:
        click.echo(
            f"Made a key of your own, {file} (key id {key.public.key_id}). `tenon verify` trusts it for this user; "
            "elsewhere, pass it to --trust.",
            err=True,
        )
    return key


def trusted_keys(data_dir: Path | None, more: Sequence[Path]) -> TrustedKeys:
    """The keys that `tenon verify` believes.

    Args:
        data_dir: of the suite on this machine; None for the default one.
        more: PEM files, or directories of them.

    Raises:
        DomainError: KEY_INVALID.
    """
    for path in more:
        if not TrustedKeys.load([path]).key_ids:
            raise DomainError(
                Reason.KEY_INVALID, f"{path} holds no key: give a PEM file to --trust, or a directory of *.pem files."
            )
    return TrustedKeys.load([*_standing(data_dir), *more])


def _standing(data_dir: Path | None) -> Iterator[Path]:
    """What is trusted without being told to; a suite or a key that was never made is none."""
    if (configuration := config_directory()) and _is_there(own := configuration / OWN_KEY):
        yield own
    if (data := data_dir or data_directory()) and _is_there(keys := data / SUITE_KEYS):
        yield keys


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a directory that this user may not search
        return False
