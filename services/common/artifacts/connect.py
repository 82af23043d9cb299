"""From settings to a store."""

from typing import Final, Protocol

from pydantic import SecretStr

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.location import BucketLocation, DirectoryLocation, parse_location
from services.common.artifacts.s3 import S3Server, S3Store
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason

AWS_ENDPOINT: Final = "s3.amazonaws.com"


class ArtifactSettings(Protocol):
    """What `connect_store` reads of the settings of a process."""

    @property
    def artifacts_url(self) -> str:
        """`file:///directory` or `s3://bucket/prefix`."""

    @property
    def s3_endpoint(self) -> str | None:
        """host:port of an S3-compatible server; None is AWS."""

    @property
    def s3_access_key(self) -> SecretStr | None:
        """Access key id."""

    @property
    def s3_secret_key(self) -> SecretStr | None:
        """Secret access key."""

    @property
    def s3_region(self) -> str:
        """Region of the bucket."""

    @property
    def s3_secure(self) -> bool:
        """Whether to use TLS."""


def connect_store(settings: ArtifactSettings) -> ArtifactStore:
    """Make the store that the settings name.

    A directory is opened, and made where it is missing; S3 is reached by the first call (`check` tells).

    Raises:
        DomainError: SETTINGS_INVALID; ARTIFACT_STORE_UNAVAILABLE or DATA_DIRECTORY_INCOMPATIBLE for a directory.
    """
    match parse_location(settings.artifacts_url):
        case DirectoryLocation(path):
            return FileSystemStore.open(path)
        case BucketLocation(bucket, prefix):
            return S3Store(_server(settings), bucket, prefix)


def _server(settings: ArtifactSettings) -> S3Server:
    access_key, secret_key = settings.s3_access_key, settings.s3_secret_key
    if (access_key is None) != (secret_key is None):
        raise DomainError(Reason.SETTINGS_INVALID, "Set both TENON_S3_ACCESS_KEY and TENON_S3_SECRET_KEY, or neither.")
    return S3Server(
        endpoint=settings.s3_endpoint or AWS_ENDPOINT,
        access_key=access_key.get_secret_value() if access_key else None,
        secret_key=secret_key.get_secret_value() if secret_key else None,
        region=settings.s3_region,
        secure=settings.s3_secure,
    )
