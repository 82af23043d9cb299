"""The list of referenced blobs, held against the schemas as they are."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Json

from cli.suite.backup.manifest import SCHEMAS
from cli.suite.backup.references import SOURCES, Reference, list_references
from services.common.db import migrate, open_database
from services.common.settings import DatabaseSettings

A, B, C, D, E, F = (letter * 64 for letter in "abcdef")
"""Digests."""

NAMES_BLOBS = {
    "registry.adapter_versions.files",
    "trainer.datasets.sha256",
    "trainer.job_checkpoints.sha256",
    "trainer.job_manifests.manifest",
}
NAMES_NONE = {
    # Digests of documents that are rows themselves, of keys, and of statements.
    "iam.api_keys.digest",
    "iam.migrations.sha256",
    "registry.adapter_versions.base_fingerprint_id",
    "registry.adapter_versions.manifest",
    "registry.adapter_versions.version",
    "registry.base_models.document",
    "registry.base_models.fingerprint",
    "registry.base_models.fingerprint_id",
    "registry.migrations.sha256",
    "registry.requests.digest",
    "registry.requests.response",
    "registry.version_signatures.key_id",
    "registry.version_signatures.signature",
    "trainer.migrations.sha256",
    "trainer.requests.digest",
    "trainer.requests.response",
    # Bytes that are not named anywhere yet: whoever is about to name them puts them again after a restore.
    "trainer.blob_holds.sha256",
    # JSON without a digest in it, or with one of what is listed already.
    "trainer.datasets.statistics",
    "trainer.job_checkpoints.metrics",
    "trainer.job_events.body",
    "trainer.jobs.error",
    "trainer.jobs.hyperparameters",
    "trainer.jobs.labels",
    "trainer.jobs.plan",
    "trainer.jobs.progress",
}

SUSPECTS = """
    SELECT DISTINCT concat_ws('.', n.nspname, c.relname, a.attname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = relnamespace
    JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_constraint k ON conrelid = c.oid AND contype = 'c' AND attnum = ANY (conkey)
    WHERE nspname = ANY (%s) AND relkind = 'r'
      AND (atttypid IN ('json'::regtype, 'jsonb'::regtype, 'bytea'::regtype)
           OR attname ~ 'sha256|digest|blob'
           OR pg_get_constraintdef(k.oid) ~ '(\\{64\\}|sha256)')
"""


@pytest.fixture
async def connection(postgres_url: str) -> "AsyncIterator[Connection[TupleRow]]":
    async with open_database(DatabaseSettings(database_url=postgres_url), application_name="test") as database:
        for schema, package in SCHEMAS.items():
            await migrate(database, schema, package)
    with psycopg.connect(postgres_url) as connection:
        yield connection
        connection.rollback()


async def test_every_column_that_may_name_a_blob_was_thought_of(connection: "Connection[TupleRow]") -> None:
    """A new column here: add a source to references.py that lists its blobs, or name it above as one without."""
    found = {row[0] for row in connection.execute(SUSPECTS, [list(SCHEMAS)])}
    assert found == NAMES_BLOBS | NAMES_NONE


async def test_what_is_referred_to_is_listed(connection: "Connection[TupleRow]") -> None:
    add_version(connection, "one", A, ready=True)
    add_version(connection, "two", B, ready=False)
    connection.execute(
        "INSERT INTO trainer.datasets (project, dataset, display_name, format, size, sha256, statistics) "
        "VALUES ('p', 'rows', '', '', 7, %s, '{}')",
        [C],
    )
    running, ended = add_job(connection, "running", end=False), add_job(connection, "ended", end=True)
    for job, digest, kept, discarded in [
        (running, A, True, True),
        (running, D, True, False),
        (running, E, True, False),
        (running, F, False, False),
        (ended, F, True, False),
    ]:
        connection.execute(
            "INSERT INTO trainer.job_checkpoints (job_position, epoch, step, sha256, size, metrics, keep_time, discard_time) "
            "VALUES (%s, 0, 1, %s, 5, '{}', CASE WHEN %s THEN now() END, CASE WHEN %s THEN now() END)",
            [job, digest, kept, discarded],
        )
    for job, digest in ((running, B), (ended, C)):
        document = f'{{"files":[{{"path":"x","sha256":"{digest}","size":3}}]}}'.encode()
        connection.execute("INSERT INTO trainer.job_manifests VALUES (%s, %s)", [job, document])
    version = "projects/p/adapters/a/versions"
    assert set(list_references(connection)) == {
        Reference("p", A, 3, required=True, what=f"{version}/{digest_of(connection, 'one')}"),
        Reference("p", B, 3, required=False, what=f"{version}/{digest_of(connection, 'two')}"),
        Reference("p", C, 7, required=True, what="projects/p/datasets/rows"),
        Reference("p", D, 5, required=False, what="projects/p/trainingJobs/running"),
        Reference("p", E, 5, required=True, what="projects/p/trainingJobs/running"),
        Reference("p", F, 5, required=False, what="projects/p/trainingJobs/running"),
        Reference("p", F, 5, required=False, what="projects/p/trainingJobs/ended"),
        Reference("p", B, 3, required=False, what="projects/p/trainingJobs/running"),
    }


async def test_tables_that_an_older_version_had_not_are_passed_over(connection: "Connection[TupleRow]") -> None:
    for source in SOURCES:
        connection.execute(f"DROP TABLE {source.table} CASCADE".encode())
        assert list(list_references(connection)) == []


def add_version(connection: "Connection[TupleRow]", manifest: str, digest: str, *, ready: bool) -> None:
    connection.execute(
        "INSERT INTO registry.adapters (project, adapter, display_name, description) VALUES ('p', 'a', '', '') "
        "ON CONFLICT DO NOTHING"
    )
    connection.execute(
        "INSERT INTO registry.adapter_versions (project, adapter, version, manifest, base_model, base_fingerprint_id, "
        "training_job, files, provenance, ready_time) "
        "VALUES ('p', 'a', encode(sha256(%(m)s), 'hex'), %(m)s, 'b', %(f)s, '', %(files)s, 'declared', "
        "CASE WHEN %(ready)s THEN now() END)",
        {
            "m": manifest.encode(),
            "f": F,
            "files": Json([{"path": "adapter_model.safetensors", "sha256": digest, "size": 3}]),
            "ready": ready,
        },
    )


def digest_of(connection: "Connection[TupleRow]", manifest: str) -> str:
    (digest,) = connection.execute("SELECT encode(sha256(%s), 'hex')", [manifest.encode()]).fetchone() or ("",)
    return str(digest)


def add_job(connection: "Connection[TupleRow]", name: str, *, end: bool) -> int:
    added = connection.execute(
        "INSERT INTO trainer.jobs (project, job, base_model, base_fingerprint_id, dataset, adapter, hyperparameters, "
        "labels, state, progress, attempt, losses, epoch, batch, revision, last_sequence, traceparent, end_time) "
        "VALUES ('p', %s, 'b', '', '', 'a', '{}', '{}', %s, '{}', 0, 0, 0, 0, 0, 0, '', CASE WHEN %s THEN now() END) "
        "RETURNING position",
        [name, "cancelled" if end else "queued", end],
    )
    (position,) = added.fetchone() or (0,)
    return int(position)
