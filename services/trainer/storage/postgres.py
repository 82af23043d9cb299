"""Data sets and jobs in Postgres, schema ``trainer``."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from psycopg.sql import SQL

from services.common.db import Connection, Database, load_queries
from services.common.idempotency import PostgresRequestLog
from services.common.resource_names import DatasetName, TrainingJobName
from services.trainer.jobs.rules import Change, Rule, require_ended
from services.trainer.model import (
    KEPT_CHECKPOINTS,
    CheckpointKept,
    Dataset,
    EventBody,
    JobCheckpoint,
    JobEvent,
    JobFilter,
    JobState,
    StateChange,
    Told,
    TrainingJob,
)
from services.trainer.storage.rows import (
    body_from_row,
    checkpoint_from_row,
    dataset_from_row,
    dataset_to_row,
    draft_to_row,
    event_from_row,
    event_to_row,
    job_from_row,
    job_to_row,
)
from services.trainer.storage.store import (
    EVENTS_CHANNEL,
    WORK_CHANNEL,
    Step,
    Transaction,
    dataset_in_use,
    dataset_not_found,
    job_exists,
    job_not_found,
)

SCHEMA: Final = "trainer"
MIGRATIONS: Final = "services.trainer.storage.migrations"

Queries = Mapping[str, SQL]
Begin = Callable[[], AbstractAsyncContextManager[Connection]]


class PostgresStore:
    """A ``Store``."""

    def __init__(self, database: Database) -> None:
        """Use a database whose schema is up to date, or will be before its first transaction."""
        self._database = database
        self._sql = load_queries("services.trainer.storage")
        self.datasets = PostgresDatasetStore(database.transaction, self._sql)
        self.jobs = PostgresJobStore(database.transaction, self._sql)
        self.blobs = PostgresBlobLedger(database.transaction, self._sql)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See ``Store``."""
        async with self._database.transaction() as connection:

            def begun() -> AbstractAsyncContextManager[Connection]:
                return nullcontext(connection)

            yield Transaction(
                PostgresRequestLog(connection, SCHEMA),
                PostgresDatasetStore(begun, self._sql),
                PostgresJobStore(begun, self._sql),
            )


class PostgresDatasetStore:
    """A ``DatasetStore``."""

    def __init__(self, begin: Begin, queries: Queries) -> None:
        """Run each call in a transaction that ``begin`` begins, or in the one it is in."""
        self._begin = begin
        self._sql = queries

    async def add(self, dataset: Dataset, confirm: Step) -> Dataset:
        """See ``DatasetStore``."""
        async with self._begin() as connection:
            await _lock_content(connection, self._sql, dataset.name.project, dataset.sha256)
            await confirm()
            cursor = await connection.execute(self._sql["add_dataset"], dataset_to_row(dataset))
            return dataset_from_row(await cursor.fetchone() or {})

    async def get(self, name: DatasetName) -> Dataset:
        """See ``DatasetStore``."""
        async with self._begin() as connection:
            return await self._one(connection, "get_dataset", name)

    async def page(self, project: str, *, before: int | None, limit: int) -> Sequence[Dataset]:
        """See ``DatasetStore``."""
        async with self._begin() as connection:
            query = {"project": project, "before": before, "limit": limit}
            cursor = await connection.execute(self._sql["list_datasets"], query)
            return [dataset_from_row(row) for row in await cursor.fetchall()]

    async def remove(self, name: DatasetName) -> Dataset:
        """See ``DatasetStore``."""
        async with self._begin() as connection:
            dataset = await self._one(connection, "lock_dataset", name)
            cursor = await connection.execute(self._sql["find_user_of_dataset"], _key(name))
            if user := await cursor.fetchone():
                raise dataset_in_use(name, str(TrainingJobName(name.project, user["job"])))
            await connection.execute(self._sql["remove_dataset"], _key(name))
            return dataset

    async def unused(self, seconds: float, limit: int) -> Sequence[DatasetName]:
        """See ``DatasetStore``."""
        async with self._begin() as connection:
            cursor = await connection.execute(self._sql["list_unused_datasets"], {"seconds": seconds, "limit": limit})
            return [DatasetName(row["project"], row["dataset"]) for row in await cursor.fetchall()]

    async def _one(self, connection: Connection, query: str, name: DatasetName) -> Dataset:
        cursor = await connection.execute(self._sql[query], _key(name))
        row = await cursor.fetchone()
        if row is None:
            raise dataset_not_found(name)
        return dataset_from_row(row)


class PostgresJobStore:
    """A ``JobStore``."""

    def __init__(self, begin: Begin, queries: Queries) -> None:
        """Run each call in a transaction that ``begin`` begins, or in the one it is in."""
        self._begin = begin
        self._sql = queries

    async def create(self, job: TrainingJob) -> TrainingJob:
        """See ``JobStore``."""
        async with self._begin() as connection:
            for dataset in filter(None, (job.dataset, job.validation_dataset)):
                cursor = await connection.execute(self._sql["keep_dataset"], _key(dataset))
                if await cursor.fetchone() is None:
                    raise dataset_not_found(dataset)
            cursor = await connection.execute(self._sql["create_job"], job_to_row(job))
            row = await cursor.fetchone()
            if row is None:
                raise job_exists(job.name)
            return await self._write(connection, job_from_row(row), Change(job, (StateChange(job.state),)))

    async def get(self, name: TrainingJobName) -> TrainingJob:
        """See ``JobStore``."""
        async with self._begin() as connection:
            return job_from_row(await self._one(connection, "get_job", name))

    async def remove(self, name: TrainingJobName, discard: Callable[[str], Awaitable[None]]) -> None:
        """See ``JobStore``."""
        async with self._begin() as connection:
            job = job_from_row(await self._one(connection, "lock_job", name))
            require_ended(job)
            key = {"project": name.project, "position": job.position}
            # Nobody begins to need any of them meanwhile; in one order, so that two who lock the same do not wait for each other.
            cursor = await connection.execute(self._sql["list_stored_checkpoints"], key)
            for row in await cursor.fetchall():
                await _lock_content(connection, self._sql, name.project, row["sha256"])
            cursor = await connection.execute(self._sql["list_own_checkpoints"], key)
            for row in await cursor.fetchall():
                await discard(row["sha256"])
            await connection.execute(self._sql["delete_job"], key)

    async def page(self, chosen: JobFilter, *, before: int | None, limit: int) -> Sequence[TrainingJob]:
        """See ``JobStore``."""
        async with self._begin() as connection:
            query = {
                "project": chosen.project,
                "base_model": chosen.base_model and chosen.base_model.base_model,
                "states": [state.value for state in chosen.states] or None,
                "before": before,
                "limit": limit,
            }
            cursor = await connection.execute(self._sql["list_jobs"], query)
            return [job_from_row(row) for row in await cursor.fetchall()]

    async def change(self, name: TrainingJobName, rule: Rule) -> TrainingJob:
        """See ``JobStore``."""
        async with self._begin() as connection:
            job = job_from_row(await self._one(connection, "lock_job", name))
            return await self._apply(connection, job, rule)

    async def change_next_queued(self, rule: Rule, *, project_limit: int | None = None) -> TrainingJob | None:
        """See ``JobStore``."""
        parameters = {"project_limit": project_limit}
        if project_limit is None:
            return await self._change_one("lock_next_queued", parameters, rule)
        async with self._begin() as connection:
            # A statement of its own, so that the next one sees what the one before in the queue has done.
            await connection.execute(self._sql["lock_claims"])
            return await self._change_locked(connection, "lock_next_queued", parameters, rule)

    async def change_expired(self, rule: Rule, *, grace_seconds: float) -> TrainingJob | None:
        """See ``JobStore``."""
        return await self._change_one("lock_expired", {"grace_seconds": grace_seconds}, rule)

    async def events(
        self, name: TrainingJobName, *, after: int, limit: int, descending: bool = False
    ) -> Sequence[JobEvent]:
        """See ``JobStore``."""
        query = "list_events_descending" if descending else "list_events"
        async with self._begin() as connection:
            cursor = await connection.execute(self._sql[query], {**_key(name), "after": after, "limit": limit})
            return [event_from_row(row) for row in await cursor.fetchall()]

    async def told(self, name: TrainingJobName, *, after_step: int) -> Told:
        """See ``JobStore``."""
        async with self._begin() as connection:
            cursor = await connection.execute(self._sql["list_told"], {**_key(name), "after_step": after_step})
            return Told.of(map(body_from_row, await cursor.fetchall()))

    async def checkpoints(self, name: TrainingJobName, *, before: int | None, limit: int) -> Sequence[JobCheckpoint]:
        """See ``JobStore``."""
        async with self._begin() as connection:
            query = {**_key(name), "before": before, "limit": limit}
            cursor = await connection.execute(self._sql["list_checkpoints"], query)
            return [checkpoint_from_row(row) for row in await cursor.fetchall()]

    async def discardable(self, limit: int) -> Sequence[tuple[str, JobCheckpoint]]:
        """See ``JobStore``."""
        async with self._begin() as connection:
            query = {"limit": limit, "kept": KEPT_CHECKPOINTS, "number": None}
            cursor = await connection.execute(self._sql["list_discardable_checkpoints"], query)
            return [(row["project"], checkpoint_from_row(row)) for row in await cursor.fetchall()]

    async def discard(self, project: str, checkpoint: JobCheckpoint, discard: Step) -> bool:
        """See ``JobStore``."""
        async with self._begin() as connection:
            await _lock_content(connection, self._sql, project, checkpoint.sha256)
            query = {"limit": 1, "kept": KEPT_CHECKPOINTS, "number": checkpoint.number}
            cursor = await connection.execute(self._sql["list_discardable_checkpoints"], query)
            if await cursor.fetchone() is None:
                return False
            await discard()
            await connection.execute(self._sql["discard_checkpoint"], {"number": checkpoint.number})
            return True

    async def forget_events(self, seconds: float, limit: int) -> int:
        """See ``JobStore``."""
        async with self._begin() as connection:
            cursor = await connection.execute(self._sql["forget_events"], {"seconds": seconds, "limit": limit})
            return cursor.rowcount

    async def manifest(self, name: TrainingJobName) -> bytes | None:
        """See ``JobStore``."""
        async with self._begin() as connection:
            row = await self._one(connection, "get_manifest", name)
            return None if row["manifest"] is None else bytes(row["manifest"])

    async def _change_one(self, query: str, parameters: Mapping[str, Any], rule: Rule) -> TrainingJob | None:
        async with self._begin() as connection:
            return await self._change_locked(connection, query, parameters, rule)

    async def _change_locked(
        self, connection: Connection, query: str, parameters: Mapping[str, Any], rule: Rule
    ) -> TrainingJob | None:
        cursor = await connection.execute(self._sql[query], parameters)
        row = await cursor.fetchone()
        return None if row is None else await self._apply(connection, job_from_row(row), rule)

    async def _apply(self, connection: Connection, job: TrainingJob, rule: Rule) -> TrainingJob:
        change = rule(job)
        return job if change is None else await self._write(connection, job, change)

    async def _write(self, connection: Connection, job: TrainingJob, change: Change) -> TrainingJob:
        """Write what becomes of a job whose row is locked."""
        await self._add_events(connection, job, change.events)
        if change.manifest is not None:
            kept = {"position": job.position, "manifest": change.manifest}
            await connection.execute(self._sql["save_manifest"], kept)
        if change.draft is not None:
            await _lock_content(connection, self._sql, job.name.project, change.draft.sha256)
            await connection.execute(self._sql["announce_checkpoint"], draft_to_row(job, change.draft))
        parameters = {
            **job_to_row(change.job),
            "position": job.position,
            "last_sequence": job.last_sequence + len(change.events),
            "lease_seconds": change.lease_seconds,
        }
        cursor = await connection.execute(self._sql["save_job"], parameters)
        return job_from_row(await cursor.fetchone() or {})

    async def _add_events(self, connection: Connection, job: TrainingJob, events: Sequence[EventBody]) -> None:
        if not events:
            return
        kinds, bodies = zip(*map(event_to_row, events), strict=True)
        rows = {"position": job.position, "after": job.last_sequence, "kinds": list(kinds), "bodies": list(bodies)}
        await connection.execute(self._sql["add_events"], rows)
        for event in events:
            if isinstance(event, CheckpointKept):
                kept = {"position": job.position, "sha256": event.sha256}
                await connection.execute(self._sql["keep_checkpoint"], kept)
        for channel in channels_to_notify(events):
            await connection.execute(self._sql["notify"], {"channel": channel, "payload": str(job.name)})

    async def _one(self, connection: Connection, query: str, name: TrainingJobName) -> Mapping[str, Any]:
        cursor = await connection.execute(self._sql[query], _key(name))
        row = await cursor.fetchone()
        if row is None:
            raise job_not_found(name)
        return row


class PostgresBlobLedger:
    """A ``BlobLedger``."""

    def __init__(self, begin: Begin, queries: Queries) -> None:
        """Run each call in a transaction that ``begin`` begins."""
        self._begin = begin
        self._sql = queries

    async def suite(self) -> str:
        """See ``BlobLedger``."""
        async with self._begin() as connection:
            row = await (await connection.execute(self._sql["get_suite"])).fetchone()
            return str((row or {})["id"])

    async def hold(self, project: str, sha256s: Iterable[str], seconds: float) -> None:
        """See ``BlobLedger``."""
        async with self._begin() as connection:
            # In one order, so that two who hold the same bytes do not wait for each other.
            for sha256 in sorted(set(sha256s)):
                await _lock_content(connection, self._sql, project, sha256)
                held = {"project": project, "sha256": sha256, "seconds": seconds}
                await connection.execute(self._sql["hold_blob"], held)

    async def manifests_to_publish(self, project: str) -> Sequence[bytes]:
        """See ``BlobLedger``."""
        async with self._begin() as connection:
            cursor = await connection.execute(self._sql["list_manifests_to_publish"], {"project": project})
            return [bytes(row["manifest"]) for row in await cursor.fetchall()]

    async def if_unneeded(self, project: str, sha256: str, discard: Step) -> bool:
        """See ``BlobLedger``."""
        async with self._begin() as connection:
            await _lock_content(connection, self._sql, project, sha256)
            cursor = await connection.execute(self._sql["find_need_of_blob"], {"project": project, "sha256": sha256})
            if await cursor.fetchone() is not None:
                return False
            await discard()
            return True

    async def forget_holds(self) -> None:
        """See ``BlobLedger``."""
        async with self._begin() as connection:
            await connection.execute(self._sql["forget_holds"])


async def _lock_content(connection: Connection, queries: Queries, project: str, sha256: str) -> None:
    await connection.execute(queries["lock_content"], {"content": f"tenon.trainer.{project}/{sha256}"})


def channels_to_notify(events: Sequence[EventBody]) -> Sequence[str]:
    """Return the channels on which these events are news."""
    states = {event.state for event in events if isinstance(event, StateChange)}
    if states & {JobState.QUEUED, JobState.CANCELLING, JobState.PAUSING}:
        return (EVENTS_CHANNEL, WORK_CHANNEL)
    return (EVENTS_CHANNEL,)


def _key(name: DatasetName | TrainingJobName) -> dict[str, str]:
    if isinstance(name, DatasetName):
        return {"project": name.project, "dataset": name.dataset}
    return {"project": name.project, "job": name.training_job}
