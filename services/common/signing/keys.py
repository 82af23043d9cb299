"""Ed25519 keys (RFC 8032) in PEM files, as ``openssl genpkey -algorithm ed25519`` writes them."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.errors import DomainError, Reason

MAX_KEY_BYTES: Final = 16 * 1024
_PRIVATE_MARK: Final = b"PRIVATE KEY-----"
_PUBLIC_MARK: Final = b"PUBLIC KEY-----"

_CHECK: Final = "Check the path."
_CHECK_OR_MAKE: Final = "Check the path, or make a key with `openssl genpkey -algorithm ed25519 -out key.pem`."
_PERMIT: Final = "Make it readable for the user who runs this command."
_RESTORE: Final = "Check the path, or restore the file from a backup."
_GIVE_PEM: Final = "Give the path of a PEM file."
_GIVE_ED25519: Final = "Give an Ed25519 key."


class PublicKey:
    """A key that checks signatures."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @property
    def key_id(self) -> str:
        """SHA-256 of the key's DER SubjectPublicKeyInfo, 64 hex digits: `openssl pkey -pubin -outform DER | sha256sum`."""
        der = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key's owner signed the message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> bytes:
        """The key as a PEM file."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key from a PEM file; of a private key, its public half.

        Raises:
            DomainError: KEY_INVALID.
        """
        data = _read(path, absent=_CHECK)
        if _PRIVATE_MARK in data:
            return cls(_private_key(data, path).public_key())
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise _invalid(path, "it holds no public key in PEM form", _RESTORE) from None
        if not isinstance(key, Ed25519PublicKey):
            raise _invalid(path, "it holds a key of another kind than Ed25519", _GIVE_ED25519)
        return cls(key)

    def __repr__(self) -> str:
        """Name it."""
        return f"PublicKey({self.key_id[:12]})"


class SigningKey:
    """A key that signs; its secret never leaves it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public: Final = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature."""
        return self._key.sign(message)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key from a PEM file without a password.

        Raises:
            DomainError: KEY_INVALID.
        """
        return cls(_private_key(_read(path, absent=_CHECK_OR_MAKE), path))

    def __repr__(self) -> str:
        """Name it by its public half."""
        return f"SigningKey({self.public.key_id[:12]})"


def make_key_file(path: Path) -> SigningKey:
    """Read the key in a file; where there is no such file, make a key and put it there, for its owner alone.

    Of two processes that come first at the same time, both get the same key.

    Raises:
        DomainError: KEY_INVALID where the file is no key, or cannot be written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_new(path, Ed25519PrivateKey.generate())
    except OSError as error:
        advice = "Make its directory writable for the user who runs this command."
        raise _invalid(path, f"it cannot be written: {error.strerror}", advice) from None
    return SigningKey.load(path)


def holds_private_key(path: Path) -> bool:
    """Whether a file holds a private key, which nobody but its owner should have.

    Raises:
        DomainError: KEY_INVALID where it cannot be read.
    """
    return _PRIVATE_MARK in _read(path, absent=_CHECK)


def _write_new(path: Path, key: Ed25519PrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor, pending = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # somebody else was first; a link never replaces
            os.link(pending, path)
    finally:
        Path(pending).unlink()


def _private_key(data: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        advice = "Give a key without one: `openssl pkey -in locked.pem -out key.pem`."
        raise _invalid(path, "it is locked by a password", advice) from None
    except (ValueError, UnsupportedAlgorithm):
        if _PUBLIC_MARK in data:
            advice = "Give the file of its private half."
            raise _invalid(path, "it holds a public key, which cannot sign", advice) from None
        raise _invalid(path, "it holds no private key in PEM form", _RESTORE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid(path, "it holds a key of another kind than Ed25519", _GIVE_ED25519)
    return key


def _read(path: Path, *, absent: str) -> bytes:
    """The bytes of a file; `absent` is what to do where there is none."""
    try:
        if path.exists() and not path.is_file():
            raise _invalid(path, "it is not a file", _GIVE_PEM)
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise _invalid(path, "there is no such file", absent) from None
    except OSError as error:
        raise _invalid(path, f"it cannot be read: {error.strerror}", _PERMIT) from None
    if len(data) > MAX_KEY_BYTES:
        raise _invalid(path, f"it has more than {MAX_KEY_BYTES} bytes", _GIVE_PEM)
    return data


def _invalid(path: Path, fault: str, advice: str) -> DomainError:
    return DomainError(
        Reason.KEY_INVALID,
        f"The key file {path} cannot be used: {fault}. {advice}",
        {"file": path.name},
    )
