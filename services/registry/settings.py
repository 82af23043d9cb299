"""What the registry reads from the environment."""

from services.common.settings import ArtifactSettings, DatabaseSettings, ServerSettings


class RegistrySettings(ServerSettings, DatabaseSettings, ArtifactSettings):
    """Address and limits of the server, Postgres, artifact store."""
