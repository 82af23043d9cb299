"""Schema changes in plain SQL: ``NNNN_name.sql`` in a package, applied once, in order, forward only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import Final

from psycopg.sql import SQL, Identifier

from services.common.db.database import Connection, Database
from services.common.errors import DomainError, Reason

_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema, as its file has it."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Digest of the statements, recorded so that a file changed after the fact is noticed."""
        return sha256(self.sql.encode()).hexdigest()


async def migrate(database: Database, schema: str, package: str) -> None:
    """Bring a schema up to date; what is done already is left alone.

    All of it happens in one transaction under an advisory lock, so that it happens once however many processes start
    at the same time, and wholly or not at all.

    Args:
        database: Where.
        schema: Name of the schema, made if need be; its table `migrations` is the record.
        package: The package that holds the files; their statements name the schema themselves.

    Raises:
        DomainError: DATABASE_TOO_NEW where the record does not match the files; DATABASE_UNAVAILABLE.
    """
    known = load_migrations(package)
    async with database.bare_transaction() as connection:
        await connection.execute("SELECT set_config('statement_timeout', '0', true)")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"tenon.migrate.{schema}"])
        applied = await _applied(connection, schema)
        check_applied(known, applied, schema)
        for migration in known[len(applied) :]:
            await _apply(connection, schema, migration)


async def migrate_when_reachable(database: Database, schema: str, package: str) -> None:
    """Bring a schema up to date now or, where Postgres is down, before the first transaction that reaches it.

    Raises:
        DomainError: DATABASE_TOO_NEW; it also comes from every transaction while that is so.
    """
    step = partial(migrate, database, schema, package)
    database.before_use(step)
    try:
        await database.check()
    except DomainError as error:
        if error.reason is not Reason.DATABASE_UNAVAILABLE:
            raise


def load_migrations(package: str) -> Sequence[Migration]:
    """Read the migrations of a package, in order.

    Raises:
        ValueError: a file's name has another form, or the numbers are not 1, 2, 3, ….
    """
    found = []
    for file in files(package).iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"{package}: {file.name!r} is not named NNNN_name.sql")
        found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise ValueError(f"{package}: migrations must count 1, 2, 3, …; found {versions}")
    return found


async def _applied(connection: Connection, schema: str) -> Mapping[int, str]:
    """Return the digests of what was applied, by version; make the record where there is none."""
    place = Identifier(schema)
    # Asked first, so that a role without the right to create schemas may run what an administrator prepared.
    cursor = await connection.execute("SELECT to_regclass(%s) AS found", [f"{schema}.migrations"])
    row = await cursor.fetchone()
    if row is None or row["found"] is None:
        await connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(place))
        await connection.execute(_RECORD.format(place))
    cursor = await connection.execute(SQL("SELECT version, sha256 FROM {}.migrations ORDER BY version").format(place))
    return {row["version"]: row["sha256"] for row in await cursor.fetchall()}


_RECORD: Final = SQL(
    "CREATE TABLE IF NOT EXISTS {}.migrations ("
    "version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, "
    "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)


def check_applied(known: Sequence[Migration], applied: Mapping[int, str], schema: str) -> None:
    """Make sure that this version of Tenon knows every migration that a schema has seen.

    Args:
        known: the migrations that this version has, in order.
        applied: digests of those that were applied, by version.
        schema: its name.

    Raises:
        DomainError: DATABASE_TOO_NEW.
    """
    newest = max(applied, default=0)
    metadata = {"schema": schema, "known": str(len(known)), "applied": str(newest)}
    if newest > len(known):
        message = (
            f"Schema {schema} is at migration {newest}, this version of Tenon knows {len(known)}. "
            "Start the version that migrated it, or a newer one."
        )
        raise DomainError(Reason.DATABASE_TOO_NEW, message, metadata)
    for migration in known[:newest]:
        if applied.get(migration.version) != migration.sha256:
            message = (
                f"Migration {migration.version:04}_{migration.name} of schema {schema} was applied with other "
                "statements than this version of Tenon has. Start the version that migrated the database."
            )
            raise DomainError(Reason.DATABASE_TOO_NEW, message, metadata)


async def _apply(connection: Connection, schema: str, migration: Migration) -> None:
    # The statements come from a file of this distribution, which is as literal as a string in the code.
    await connection.execute(SQL(migration.sql))
    await connection.execute(
        SQL("INSERT INTO {}.migrations (version, name, sha256) VALUES (%s, %s, %s)").format(Identifier(schema)),
        [migration.version, migration.name, migration.sha256],
    )
