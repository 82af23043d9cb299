"""DIR/keys: the key that the suite signs manifests with, and the public keys that it trusts."""

import logging
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from cli.suite.data_directory import DataDirectory, unusable
from cli.suite.files import write_atomically
from cli.suite.options import UpOptions
from services.common.auth.keys import new_key
from services.common.signing import PublicKey, SigningKey, TrustedKeys, make_key_file

# Without any set-up the standard library's logger writes warnings to stderr: see cli/suite/supervisor.py.
log: Final = logging.getLogger(__name__)


def _new_token() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class SuiteKeys:
    """Where the services find their keys.

    Attributes:
        signing: PEM file of the private key, for those who publish adapters.
        trusted: PEM files of public keys, and directories of them, for those who check signatures.
        admin: file of the API key that may do everything.
        service_token: what the services know one another by; of one run.
    """

    signing: Path
    trusted: tuple[Path, ...]
    admin: Path
    service_token: SecretStr = field(default_factory=_new_token, compare=False)


def prepare_keys(directory: DataDirectory, options: UpOptions) -> SuiteKeys:
    """Make the keys that are missing below DIR/keys, and check those that the person has chosen.

    Whatever the suite signs with is trusted by it, and stays trusted when another key takes its place: until its file
    is removed.

    Raises:
        DomainError: KEY_INVALID; DATA_DIRECTORY_UNUSABLE.
    """
    chosen = options.signing_key_file
    if _keys_are_lost(directory, options):
        log.warning(
            "The keys in %s are gone, so a new one is made, and adapters that were signed before are refused as "
            "SIGNATURE_UNTRUSTED. Restore that directory from a backup, or put the old public key into %s.",
            directory.keys,
            directory.trusted_keys,
        )
    key = SigningKey.load(chosen) if chosen else make_key_file(directory.signing_key)
    own = _trust(directory.trusted_keys, key.public)
    trusted = options.trusted_keys or (directory.trusted_keys,)
    if key.public.key_id not in TrustedKeys.load(trusted).key_ids:
        trusted = (*trusted, own)
    return SuiteKeys(chosen or directory.signing_key, trusted, _admin_key(directory.admin_key))


def _admin_key(file: Path) -> Path:
    """Make the admin key where there is none.

    Raises:
        DomainError: DATA_DIRECTORY_UNUSABLE.
    """
    if not file.exists():
        write_atomically(file, f"{new_key()}\n")
    return file


def _keys_are_lost(directory: DataDirectory, options: UpOptions) -> bool:
    """Whether there is a database, and no key of those that its adapters were signed with."""
    chosen = options.signing_key_file or options.trusted_keys
    found = directory.signing_key.exists() or any(directory.trusted_keys.glob("*.pem"))
    return not chosen and not found and any(directory.postgres.iterdir())


def _trust(folder: Path, key: PublicKey) -> Path:
    """Have the public key in a file of the folder."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for file in sorted(folder.glob("*.pem")):
            if PublicKey.load(file).key_id == key.key_id:
                return file
        file = folder / "suite.pem"
        if file.exists():
            file = folder / f"suite-{key.key_id[:12]}.pem"
        write_atomically(file, key.to_pem().decode())
    except OSError as error:
        raise unusable(folder, error.strerror or str(error)) from None
    return file
