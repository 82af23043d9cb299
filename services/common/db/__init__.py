"""Postgres: a pool that survives its server, transactions, migrations and queries in plain SQL, notifications."""

from services.common.db.database import Connection, Database, open_database
from services.common.db.migrations import migrate, migrate_when_reachable
from services.common.db.notifications import Notifications
from services.common.db.queries import load_queries

__all__ = [
    "Connection",
    "Database",
    "Notifications",
    "load_queries",
    "migrate",
    "migrate_when_reachable",
    "open_database",
]
