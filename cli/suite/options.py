"""What `tenon up` can be told: by its flags, else by the environment, else not at all."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field

from cli.suite.ports import Address, parse_listen
from cli.suite.postgres.account import DEFAULT_UID
from services.common.errors import DomainError, Reason
from services.common.settings import CommonSettings


class UpSettings(CommonSettings):
    """The environment variables of `tenon up`."""

    data_dir: Path | None = Field(None, description="Directory of all that the suite keeps; as --data-dir.")
    listen: str = Field("127.0.0.1:8600", description="host:port of the gateway; as --listen.")
    postgres_uid: int = Field(
        DEFAULT_UID, ge=1, lt=2**32 - 1, description="Whom Postgres runs as if root starts the suite; needs no account."
    )


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to run, and where.

    Attributes:
        data_dir: of all that the suite keeps.
        listen: of the gateway; port 0 means any.
        postgres_uid: whom Postgres runs as if root starts the suite.
    """

    data_dir: Path
    listen: Address
    postgres_uid: int = DEFAULT_UID

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
        )


def default_data_dir() -> Path:
    """Answer `$XDG_DATA_HOME/tenon`, or ~/.local/share/tenon; a relative XDG_DATA_HOME counts as none, as XDG says.

    Raises:
        DomainError: SETTINGS_INVALID, if this user has no home directory.
    """
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    if configured.is_absolute():
        return configured / "tenon"
    try:
        return Path.home() / ".local" / "share" / "tenon"
    except RuntimeError:
        raise DomainError(
            Reason.SETTINGS_INVALID, "This user has no home directory. Say where to keep the data with --data-dir."
        ) from None
