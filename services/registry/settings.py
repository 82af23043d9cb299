"""What the registry reads from the environment."""

from pathlib import Path

from pydantic import Field

from services.common.settings import ArtifactSettings, DatabaseSettings, ServerSettings, TrustSettings


class RegistrySettings(ServerSettings, DatabaseSettings, ArtifactSettings, TrustSettings):
    """Address and limits of the server, Postgres, artifact store, trusted keys, an admin key."""

    trainer_target: str | None = Field(
        None,
        description="host:port of the trainer, which is asked for jobs and data sets before a base or a project is deleted; "
        "unset: there is none.",
    )
    admin_key_file: Path | None = Field(
        None, description="File of an API key that may do everything; how an embedded suite's first key comes to be."
    )
