"""TLS between callers and servers, from files; mutual where a server asks for its callers' certificates.

Files are read at start: a new certificate counts after a restart.
"""

import ssl
from pathlib import Path

import grpc

from services.common.errors import DomainError, Reason
from services.common.settings import TlsSettings


def server_tls(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """What a server shows; None for plain text.

    Raises:
        DomainError: KEY_INVALID.
    """
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    _check(settings.tls_certificate_file, settings.tls_key_file)
    pair = (_read(settings.tls_key_file), _read(settings.tls_certificate_file))
    authorities = settings.tls_authorities_file if settings.tls_require_clients else None
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=_read(authorities) if authorities else None,
        require_client_auth=authorities is not None,
    )


def client_tls(settings: TlsSettings) -> grpc.ChannelCredentials | None:
    """What a client believes, and what it shows to servers that ask; None for plain text.

    Raises:
        DomainError: KEY_INVALID.
    """
    if settings.tls_authorities_file is None:
        return None
    authorities = _read(settings.tls_authorities_file)
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return grpc.ssl_channel_credentials(root_certificates=authorities)
    _check(settings.tls_certificate_file, settings.tls_key_file)
    return grpc.ssl_channel_credentials(
        root_certificates=authorities,
        private_key=_read(settings.tls_key_file),
        certificate_chain=_read(settings.tls_certificate_file),
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DomainError(Reason.KEY_INVALID, f"Cannot read {file}: {error.strerror}.") from None


def _check(certificate: Path, key: Path) -> None:
    """GRPC would only say at the first connection that the two do not belong together."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        text = (
            f"{certificate} and {key} are no PEM certificate and its private key ({error.strerror or error.args[-1]})."
        )
        raise DomainError(Reason.KEY_INVALID, text) from None
