"""The key that tests sign with, and the trust in it."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.common.manifest import AdapterManifest
from services.common.signing import SigningKey, TrustedKeys, make_key_file, sign

_PRIVATE: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TEST_KEY: Final = SigningKey(_PRIVATE)
STRANGERS_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TEST_TRUST: Final = TrustedKeys([TEST_KEY.public])


def signed(manifest: AdapterManifest, key: SigningKey = TEST_KEY) -> bytes:
    """Return the envelope of a manifest."""
    return sign(manifest.to_bytes(), key).to_bytes()


def trusted_key_file(directory: Path) -> Path:
    """Write the test key's public half into a directory and return the file, for settings."""
    path = directory / "test-key.pub.pem"
    return _written(path, TEST_KEY.public.to_pem())


def secret_key_file(directory: Path) -> Path:
    """Write the test key into a directory and return the file, for settings."""
    path = directory / "test-key.pem"
    return _written(path, _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def signing_key_files(directory: Path) -> tuple[Path, Path]:
    """Make a key in a directory and return the files of its private and public half, for settings."""
    private, public = directory / "signing.pem", directory / "signing.pub.pem"
    public.write_bytes(make_key_file(private).public.to_pem())
    return private, public


def _written(path: Path, pem: bytes) -> Path:
    # Only once: a service may be reading it.
    if not path.exists():
        path.write_bytes(pem)
    return path
