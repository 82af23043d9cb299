"""Which blobs the database refers to: the one list, to be extended with every table that comes to name another.

`tests/contract/backup` holds it against the schemas: a new column of digests must be in it, or be named there as none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

FETCH_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Reference:
    """A blob that something refers to.

    Attributes:
        project: whose the blob is.
        digest: its SHA-256.
        size: in bytes, as the database has it.
        required: whether it must be there; else it may still be on its way, or be about to be discarded.
        what: the resource that refers to it.
    """

    project: str
    digest: str
    size: int
    required: bool
    what: str


@dataclass(frozen=True, slots=True)
class Source:
    """A table that names blobs.

    Attributes:
        table: passed over where it is missing: an older version of the suite had it not yet.
        query: answers the attributes of `Reference`, in their order.
    """

    table: str
    query: SQL


SOURCES: Final = (
    Source(
        "registry.adapter_versions",
        # Files are uploaded before a version is READY; until then some may be missing.
        SQL("""
            SELECT project, file ->> 'sha256', (file ->> 'size')::bigint, ready,
                   format('projects/%s/adapters/%s/versions/%s', project, adapter, version)
            FROM registry.adapter_versions, json_array_elements(files) AS file
        """),
    ),
    Source(
        "trainer.datasets",
        SQL("""
            SELECT project, sha256, size, true, format('projects/%s/datasets/%s', project, dataset)
            FROM trainer.datasets
        """),
    ),
    Source(
        "trainer.job_checkpoints",
        # A job goes on from its newest. Bytes of the others are discarded before that is noted.
        SQL("""
            SELECT project, sha256, size,
                   keep_time IS NOT NULL
                   AND end_time IS NULL
                   AND number = max(number) FILTER (WHERE keep_time IS NOT NULL) OVER (PARTITION BY job_position),
                   format('projects/%s/trainingJobs/%s', project, job)
            FROM trainer.job_checkpoints JOIN trainer.jobs ON position = job_position
            WHERE discard_time IS NULL
        """),
    ),
    Source(
        "trainer.job_manifests",
        # What a job has uploaded and not published yet; where it is missing the job does it once more.
        SQL("""
            SELECT project, file ->> 'sha256', (file ->> 'size')::bigint, false,
                   format('projects/%s/trainingJobs/%s', project, job)
            FROM trainer.job_manifests JOIN trainer.jobs ON position = job_position,
                 json_array_elements(convert_from(manifest, 'UTF8')::json -> 'files') AS file
            WHERE end_time IS NULL
        """),
    ),
)


def list_references(connection: "Connection[TupleRow]") -> Iterator[Reference]:
    """List the blobs that the database names, as the connection's transaction sees it; some more than once."""
    for source in SOURCES:
        found: tuple[Any, ...] | None = connection.execute("SELECT to_regclass(%s)", [source.table]).fetchone()
        if found is None or found[0] is None:
            continue
        with connection.cursor(name="references") as cursor:
            cursor.itersize = FETCH_ROWS
            for row in cursor.execute(source.query):
                yield Reference(*row)
