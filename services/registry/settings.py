"""What the registry reads from the environment."""

from services.common.settings import ArtifactSettings, DatabaseSettings, ServerSettings, TrustSettings


class RegistrySettings(ServerSettings, DatabaseSettings, ArtifactSettings, TrustSettings):
    """Address and limits of the server, Postgres, artifact store, trusted keys."""
