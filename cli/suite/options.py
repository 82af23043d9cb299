"""What `tenon up` can be told: by its flags, else by the environment, else not at all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field

from cli.suite.ports import Address, parse_listen
from cli.suite.postgres.account import DEFAULT_UID
from cli.user_directories import data_directory
from services.common.errors import DomainError, Reason
from services.common.settings import CommonSettings


class UpSettings(CommonSettings):
    """The environment variables of `tenon up`; the keys are the services' own variables."""

    data_dir: Path | None = Field(None, description="Directory of all that the suite keeps; as --data-dir.")
    listen: str = Field("127.0.0.1:8600", description="host:port of the gateway; as --listen.")
    postgres_uid: int = Field(
        DEFAULT_UID, ge=1, lt=2**32 - 1, description="Whom Postgres runs as if root starts the suite; needs no account."
    )
    signing_key_file: Path | None = Field(None, description="Sign with this key instead of DIR/keys/signing.pem.")
    trusted_keys: tuple[Path, ...] = Field((), description="Trust these keys instead of those in DIR/keys/trusted.")


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to run, and where.

    Attributes:
        data_dir: of all that the suite keeps.
        listen: of the gateway; port 0 means any.
        postgres_uid: whom Postgres runs as if root starts the suite.
        signing_key_file: sign with this key; None: with one of the data directory.
        trusted_keys: trust these keys, files or directories; empty: those in the data directory.
    """

    data_dir: Path
    listen: Address
    postgres_uid: int = DEFAULT_UID
    signing_key_file: Path | None = None
    trusted_keys: tuple[Path, ...] = ()

    @classmethod
    def resolve(cls, data_dir: Path | None = None, listen: str | None = None) -> Self:
        """Complete the flags, None where not given, from the environment and the defaults.

        Raises:
            DomainError: SETTINGS_INVALID, or LISTEN_NOT_ALLOWED.
        """
        settings = UpSettings.load()
        return cls(
            data_dir=data_dir or settings.data_dir or default_data_dir(),
            listen=parse_listen(listen if listen is not None else settings.listen),
            postgres_uid=settings.postgres_uid,
            signing_key_file=settings.signing_key_file.absolute() if settings.signing_key_file else None,
            trusted_keys=tuple(path.absolute() for path in settings.trusted_keys),
        )


def default_data_dir() -> Path:
    """Answer `$XDG_DATA_HOME/tenon`, or ~/.local/share/tenon.

    Raises:
        DomainError: SETTINGS_INVALID, if this user has no home directory.
    """
    directory = data_directory()
    if directory is None:
        raise DomainError(
            Reason.SETTINGS_INVALID, "This user has no home directory. Say where to keep the data with --data-dir."
        )
    return directory
