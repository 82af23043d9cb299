"""Settings: environment variables ``TENON_*``, typed and validated at start, secrets never printed.

Each service extends ``CommonSettings`` with what it needs; deploy/example.env lists them all with comments.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from services.common.errors import DomainError, Reason

MIB = 1024 * 1024

S = TypeVar("S", bound="CommonSettings")


def _told(fault: Mapping[str, Any]) -> str:
    """A fault with its variable's name; what is about several variables names them itself."""
    name = ".".join(map(str, fault["loc"])).upper()
    return f"TENON_{name}: {fault['msg']}" if name else str(fault["msg"])


class CommonSettings(BaseSettings):
    """What every process of the suite understands."""

    model_config = SettingsConfigDict(env_prefix="TENON_", extra="ignore", frozen=True, hide_input_in_errors=True)

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe level logged.")
    log_format: str = Field("console", pattern="^(console|json)$", description="Lines for people or for machines.")
    otlp_endpoint: str | None = Field(
        None, description="OTLP/gRPC receiver of traces and metrics, http://host:port; unset sends none."
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            DomainError: SETTINGS_INVALID, naming every variable at fault and never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            faults = [_told(fault) for fault in error.errors()]
            raise DomainError(Reason.SETTINGS_INVALID, "; ".join(faults)) from None
        except SettingsError as error:
            # The text has the field's name, quoted, and not the value.
            field = str(error).partition('"')[2].partition('"')[0]
            text = f'TENON_{field.upper()}: Input should be JSON, such as ["/first", "/second"]'
            raise DomainError(Reason.SETTINGS_INVALID, text) from None


class TlsSettings(CommonSettings):
    """How connections are kept from being read and forged."""

    tls_certificate_file: Path | None = Field(
        None, description="PEM chain of this process: shown to its callers, and to servers that ask for one."
    )
    tls_key_file: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tls_authorities_file: Path | None = Field(
        None,
        description="PEM file of the authorities whose certificates servers must show to this process; unset: plain text.",
    )
    tls_require_clients: bool = Field(
        False, description="Whether callers of this server must show a certificate of these authorities (mutual TLS)."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.tls_certificate_file is None) is not (self.tls_key_file is None):
            raise PydanticCustomError("tls", "TENON_TLS_CERTIFICATE_FILE and TENON_TLS_KEY_FILE go together")
        if self.tls_require_clients and (self.tls_authorities_file is None or self.tls_certificate_file is None):
            raise PydanticCustomError(
                "tls", "TENON_TLS_REQUIRE_CLIENTS needs TENON_TLS_AUTHORITIES_FILE and a certificate of its own"
            )
        return self


class AuthSettings(TlsSettings):
    """Whether callers need keys."""

    service_token: SecretStr | None = Field(
        None,
        min_length=32,
        description="What the suite's services know one another by; the same in all of them. Unset, a suite asks for no keys, and "
        "listens on loopback only.",
    )


def is_loopback(host: str) -> bool:
    """Whether nobody from another machine can reach an address, or ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ListeningSettings(AuthSettings):
    """What every server understands."""

    listen: str = Field("127.0.0.1:0", pattern=r"^.+:\d{1,5}$", description="host:port to listen on.")

    @field_validator("listen")
    @classmethod
    def _strangers_need_keys(cls, listen: str, info: ValidationInfo) -> str:
        if (
            "service_token" in info.data
            and info.data["service_token"] is None
            and not is_loopback(listen.rpartition(":")[0].strip("[]"))
        ):
            text = "TENON_SERVICE_TOKEN is unset, so that nobody would need a key; set it, or listen on 127.0.0.1"
            raise PydanticCustomError("keys", text)
        return listen


class ServerSettings(ListeningSettings):
    """What every gRPC server understands."""

    grpc_max_message_bytes: int = Field(16 * MIB, ge=MIB, le=256 * MIB, description="Largest message accepted or sent.")
    drain_seconds: float = Field(10.0, ge=0, description="How long a stopping server lets its calls end.")


class DatabaseSettings(CommonSettings):
    """Where Postgres is."""

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")
    database_pool_size: int = Field(10, ge=1, le=200, description="Connections kept by one process at most.")


class ArtifactSettings(CommonSettings):
    """Where artifacts are."""

    artifacts_url: str = Field(pattern="^(file|s3)://", description="file:///directory or s3://bucket/prefix")
    s3_endpoint: str | None = Field(None, description="host:port of an S3-compatible server; unset: AWS.")
    s3_access_key: SecretStr | None = Field(None, description="Access key id.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret access key.")
    s3_region: str = Field("us-east-1", description="Region, also for servers that know only one.")
    s3_secure: bool = Field(True, description="TLS to the S3 server.")


class RegistryClientSettings(CommonSettings):
    """Where the registry is."""

    registry_target: str = Field(description="host:port of the registry.")


class BaseFilesSettings(CommonSettings):
    """How processes that read base models get at their files."""

    cache_dir: Path = Field(description="Where downloads and digests are kept between starts.")
    base_roots: tuple[Path, ...] = Field(
        (), description='Directories, as a JSON list, below which file:// sources may lie: ["/models"].'
    )


class SigningSettings(CommonSettings):
    """The key that whoever publishes adapters signs their manifests with."""

    signing_key_file: Path = Field(description="PEM file of the Ed25519 private key that signs manifests.")


class TrustSettings(CommonSettings):
    """Whose signatures are believed."""

    trusted_keys: tuple[Path, ...] = Field(
        min_length=1,
        description='Ed25519 public keys as a JSON list of PEM files, or of directories of *.pem: ["/keys"].',
    )
