"""The key that tests sign with, and the trust in it."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.common.manifest import AdapterManifest
from services.common.signing import SigningKey, TrustedKeys, make_key_file, sign

TEST_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGERS_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TEST_TRUST: Final = TrustedKeys([TEST_KEY.public])


def signed(manifest: AdapterManifest, key: SigningKey = TEST_KEY) -> bytes:
    """Return the envelope of a manifest."""
    return sign(manifest.to_bytes(), key).to_bytes()


def trusted_key_file(directory: Path) -> Path:
    """Write the test key's public half into a directory and return the file, for settings."""
    path = directory / "test-key.pub.pem"
    path.write_bytes(TEST_KEY.public.to_pem())
    return path


def signing_key_files(directory: Path) -> tuple[Path, Path]:
    """Make a key in a directory and return the files of its private and public half, for settings."""
    private, public = directory / "signing.pem", directory / "signing.pub.pem"
    public.write_bytes(make_key_file(private).public.to_pem())
    return private, public
