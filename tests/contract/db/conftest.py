from tests.support.postgres import postgres_server, postgres_url, stoppable_postgres

__all__ = ["postgres_server", "postgres_url", "stoppable_postgres"]
