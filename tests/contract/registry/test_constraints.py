"""What Postgres itself refuses, whatever a program tries."""

import psycopg
import pytest
from psycopg import errors

from services.common.db import Database
from services.registry.postgres import PostgresRegistryStore
from tests.contract.registry.samples import add_adapter, add_base, add_version, revoke


@pytest.fixture
async def connection(database: Database, postgres_url: str) -> psycopg.Connection:
    """A plain connection to a registry with one READY and one PENDING version; the READY one is revoked."""
    store = PostgresRegistryStore(database)
    await add_base(store)
    await add_adapter(store)
    ready = await add_version(store, seed=0)
    await add_version(store, seed=1, ready=False)
    await revoke(store, ready.name)
    return psycopg.connect(postgres_url, autocommit=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry.adapter_versions SET ready_time = NULL WHERE ready",
        "UPDATE registry.adapter_versions SET ready_time = now() WHERE ready",
        "UPDATE registry.adapter_versions SET base_model = 'other' WHERE NOT ready",
        "UPDATE registry.adapter_versions SET files = '[]' WHERE NOT ready",
        "UPDATE registry.adapter_versions SET provenance = 'declared' WHERE NOT ready",
    ],
)
def test_a_version_changes_from_pending_to_ready_and_never_else(connection: psycopg.Connection, statement: str) -> None:
    with connection, pytest.raises(psycopg.IntegrityError, match="immutable"):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry.revocations SET reason = 'none'",
        "DELETE FROM registry.revocations",
        "UPDATE registry.version_signatures SET key_id = repeat('0', 64)",
        "DELETE FROM registry.version_signatures",
    ],
)
def test_what_was_signed_or_revoked_stays_so(connection: psycopg.Connection, statement: str) -> None:
    with connection, pytest.raises(psycopg.IntegrityError, match=r"never changed|as long as its version"):
        connection.execute(statement.encode())


def test_a_manifest_cannot_change_behind_its_name(connection: psycopg.Connection) -> None:
    with connection, pytest.raises(errors.CheckViolation):
        connection.execute("UPDATE registry.adapter_versions SET manifest = 'x' WHERE NOT ready")


def test_an_alias_cannot_point_at_a_pending_version(connection: psycopg.Connection) -> None:
    with connection, pytest.raises(errors.ForeignKeyViolation):
        connection.execute(
            "INSERT INTO registry.aliases (project, adapter, alias, version) "
            "SELECT project, adapter, 'x', version FROM registry.adapter_versions WHERE NOT ready"
        )
