"""Keys beside the usual one: an older one that is still trusted, and one that is withdrawn while the tests run."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.common.signing import SigningKey, TrustedKeys
from tests.support.keys import TEST_KEY

OLD_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34))))
LEAVING_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(3, 35))))
TRUST: Final = TrustedKeys([TEST_KEY.public, OLD_KEY.public])
"""Offline, where the key that leaves has left."""


def write_trust(directory: Path) -> None:
    """Write the public halves of all three."""
    directory.mkdir()
    for name, key in (("test", TEST_KEY), ("old", OLD_KEY), ("leaving", LEAVING_KEY)):
        (directory / f"{name}.pem").write_bytes(key.public.to_pem())


def withdraw(directory: Path) -> None:
    """Trust the leaving key no more."""
    (directory / "leaving.pem").unlink()
