"""The keys of whoever runs the command line: their own, which `tenon seal` signs with, and those they trust."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from cli.suite.files import write_atomically
from cli.user_directories import config_directory, data_directory
from services.common.errors import DomainError, Reason
from services.common.signing import PublicKey, SigningKey, TrustedKeys, holds_private_key, make_key_file
from services.common.signing.trust import key_files

OWN_KEY: Final = Path("keys", "own.pem")
"""The user's own key, below the directory of the configuration."""
OWN_PUBLIC_KEY: Final = OWN_KEY.with_suffix(".pub.pem")
"""Its public half, to be given to others."""
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
    public = directory / OWN_PUBLIC_KEY
    _publish(key, public, replace=is_new)
    if is_new:
        click.echo(
            f"Made a key of your own, {file} (key id {key.public.key_id}). Keep it to yourself. `tenon verify` trusts it "
            f"for this user; elsewhere, pass {public} to --trust.",
            err=True,
        )
    return key


def own_public_key(key_ids: Collection[str]) -> Path | None:
    """The file of the public half of the user's own key, if it is one of these keys."""
    directory = config_directory()
    if directory is None or not _is_there(file := directory / OWN_PUBLIC_KEY):
        return None
    with suppress(DomainError):
        if PublicKey.load(file).key_id in key_ids:
            return file
    return None


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
        for file in filter(holds_private_key, key_files([path])):
            click.echo(
                f"{file} holds a private key; only its public half was used. Give others the public half alone: "
                "`openssl pkey -in PEM -pubout`.",
                err=True,
            )
    return TrustedKeys.load([*_standing(data_dir), *more])


def _standing(data_dir: Path | None) -> Iterator[Path]:
    """What is trusted without being told to; a suite or a key that was never made is none."""
    if (configuration := config_directory()) and _is_there(own := configuration / OWN_KEY):
        yield own
    if (data := data_dir or data_directory()) and _is_there(keys := data / SUITE_KEYS):
        yield keys


def _publish(key: SigningKey, file: Path, *, replace: bool) -> None:
    # A disk that is read-only by now is no reason not to sign.
    with suppress(OSError):
        if replace or not file.exists():
            write_atomically(file, key.public.to_pem().decode(), mode=0o644)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a directory that this user may not search
        return False
