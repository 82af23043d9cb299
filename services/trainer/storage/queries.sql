-- name: lock_content
-- Held by uploads between the look at the blob and the row that names it, and by whoever discards the blob.
SELECT pg_advisory_xact_lock(hashtextextended(%(content)s, 0))

-- name: get_suite
SELECT id::text FROM trainer.suite

-- name: hold_blob
INSERT INTO trainer.blob_holds (project, sha256, hold_until)
VALUES (%(project)s, %(sha256)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (project, sha256) DO UPDATE SET hold_until = greatest(blob_holds.hold_until, excluded.hold_until)

-- name: forget_holds
DELETE FROM trainer.blob_holds WHERE hold_until < now()

-- name: find_need_of_blob
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM trainer.datasets WHERE project = %(project)s AND sha256 = %(sha256)s)
  OR EXISTS (
    SELECT 1 FROM trainer.blob_holds
    WHERE project = %(project)s AND sha256 = %(sha256)s AND hold_until >= now())
  OR EXISTS (
    SELECT 1 FROM trainer.job_checkpoints JOIN trainer.jobs ON position = job_position
    WHERE sha256 = %(sha256)s AND discard_time IS NULL AND project = %(project)s)

-- name: list_manifests_to_publish
SELECT manifest FROM trainer.job_manifests JOIN trainer.jobs ON position = job_position
WHERE project = %(project)s AND state NOT IN ('succeeded', 'failed', 'cancelled')

-- name: forget_events
-- What a job was and how it ended stays; steps, messages and checkpoints go.
DELETE FROM trainer.job_events
WHERE (job_position, sequence) IN (
  SELECT job_position, sequence
  FROM trainer.jobs JOIN trainer.job_events ON job_position = position
  WHERE end_time < now() - make_interval(secs => %(seconds)s) AND kind IN ('metrics', 'message', 'checkpoint')
  ORDER BY end_time
  LIMIT %(limit)s)

-- name: list_unused_datasets
-- Neither uploaded nor trained on of late.
SELECT * FROM trainer.datasets AS kept
WHERE create_time < now() - make_interval(secs => %(seconds)s)
  AND NOT EXISTS (
    SELECT 1 FROM trainer.jobs AS job
    WHERE job.project = kept.project
      AND kept.dataset IN (job.dataset, job.validation_dataset)
      AND (job.end_time IS NULL OR job.end_time >= now() - make_interval(secs => %(seconds)s)))
ORDER BY position
LIMIT %(limit)s

-- name: add_dataset
INSERT INTO trainer.datasets (project, dataset, display_name, format, size, sha256, statistics)
VALUES (%(project)s, %(dataset)s, %(display_name)s, %(format)s, %(size)s, %(sha256)s, %(statistics)s)
RETURNING *

-- name: get_dataset
SELECT * FROM trainer.datasets WHERE project = %(project)s AND dataset = %(dataset)s

-- name: list_datasets
SELECT * FROM trainer.datasets
WHERE project = %(project)s AND (%(before)s::bigint IS NULL OR position < %(before)s)
ORDER BY position DESC
LIMIT %(limit)s

-- name: lock_dataset
-- Waits for jobs that are being created with it, and keeps others from it.
SELECT * FROM trainer.datasets WHERE project = %(project)s AND dataset = %(dataset)s FOR UPDATE

-- name: find_user_of_dataset
SELECT job FROM trainer.jobs
WHERE project = %(project)s
  AND state NOT IN ('succeeded', 'failed', 'cancelled')
  AND (dataset = %(dataset)s OR validation_dataset = %(dataset)s)
LIMIT 1

-- name: remove_dataset
DELETE FROM trainer.datasets WHERE project = %(project)s AND dataset = %(dataset)s

-- name: keep_dataset
-- Lets other jobs be created with the data set at the same time, but no one delete it.
SELECT 1 FROM trainer.datasets WHERE project = %(project)s AND dataset = %(dataset)s FOR KEY SHARE

-- name: create_job
INSERT INTO trainer.jobs (
  project, job, base_model, base_fingerprint_id, dataset, validation_dataset, adapter, hyperparameters, labels, priority,
  force, state, progress, attempt, losses, epoch, batch, revision, last_sequence, traceparent)
VALUES (
  %(project)s, %(job)s, %(base_model)s, %(base_fingerprint_id)s, %(dataset)s, %(validation_dataset)s, %(adapter)s,
  %(hyperparameters)s, %(labels)s, %(priority)s, %(force)s, %(state)s, %(progress)s, %(attempt)s, %(losses)s, %(epoch)s, %(batch)s,
  %(revision)s, %(last_sequence)s, %(traceparent)s)
ON CONFLICT ON CONSTRAINT jobs_name DO NOTHING
RETURNING *

-- name: get_job
SELECT * FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s

-- name: list_jobs
SELECT * FROM trainer.jobs
WHERE (%(project)s::text IS NULL OR project = %(project)s)
  AND (%(base_model)s::text IS NULL OR base_model = %(base_model)s)
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s::text[]))
  AND (%(before)s::bigint IS NULL OR position < %(before)s)
ORDER BY position DESC
LIMIT %(limit)s

-- name: list_stored_checkpoints
SELECT sha256 FROM trainer.job_checkpoints WHERE job_position = %(position)s AND discard_time IS NULL ORDER BY sha256

-- name: list_own_checkpoints
-- Those whose bytes are in the artifact store, or may be, and that no job which goes on has as well.
SELECT sha256 FROM trainer.job_checkpoints AS checkpoint
WHERE job_position = %(position)s
  AND discard_time IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM trainer.job_checkpoints AS other JOIN trainer.jobs AS job ON job.position = other.job_position
    WHERE other.sha256 = checkpoint.sha256
      AND other.discard_time IS NULL
      AND job.position <> %(position)s
      AND job.project = %(project)s
      AND job.state NOT IN ('succeeded', 'failed', 'cancelled'))

-- name: delete_job
DELETE FROM trainer.jobs WHERE position = %(position)s

-- name: lock_job
SELECT * FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s FOR UPDATE

-- name: lock_claims
-- Held while a job is taken where projects have a limit: two workers must not both take a project's last place.
SELECT pg_advisory_xact_lock(hashtextextended('tenon.trainer.claims', 0))

-- name: lock_next_queued
-- A job that was given back keeps its place. Rows that another worker is just taking are passed over, and so are those of
-- projects that have as many running jobs as they may.
SELECT * FROM trainer.jobs AS waiting
WHERE state = 'queued'
  AND (%(project_limit)s::bigint IS NULL OR %(project_limit)s > (
    SELECT count(*) FROM trainer.jobs AS held
    WHERE held.project = waiting.project AND held.state IN ('running', 'cancelling', 'pausing')))
ORDER BY priority DESC, position
LIMIT 1
FOR UPDATE SKIP LOCKED

-- name: lock_expired
-- While Postgres was down nobody could renew a lease, so none counts as run out until it has been up for a while.
SELECT * FROM trainer.jobs
WHERE state IN ('running', 'cancelling', 'pausing')
  AND lease_expires < now()
  AND pg_postmaster_start_time() + make_interval(secs => %(grace_seconds)s) < now()
ORDER BY position
LIMIT 1
FOR UPDATE SKIP LOCKED

-- name: save_job
UPDATE trainer.jobs SET
  hyperparameters = %(hyperparameters)s,
  plan = %(plan)s,
  state = %(state)s,
  progress = %(progress)s,
  adapter_version = %(adapter_version)s,
  error = %(error)s,
  attempt = %(attempt)s,
  losses = %(losses)s,
  epoch = %(epoch)s,
  worker = %(worker)s,
  batch = %(batch)s,
  revision = %(revision)s,
  last_sequence = %(last_sequence)s,
  start_time = CASE WHEN %(state)s = 'running' THEN coalesce(start_time, now()) ELSE start_time END,
  end_time = CASE WHEN %(final)s THEN coalesce(end_time, now()) END,
  lease_expires = CASE
    WHEN %(worker)s::text IS NULL THEN NULL
    WHEN %(lease_seconds)s::float8 IS NULL THEN lease_expires
    ELSE now() + make_interval(secs => %(lease_seconds)s)
  END
WHERE position = %(position)s
RETURNING *

-- name: save_manifest
INSERT INTO trainer.job_manifests (job_position, manifest) VALUES (%(position)s, %(manifest)s)
ON CONFLICT (job_position) DO UPDATE SET manifest = excluded.manifest

-- name: get_manifest
SELECT manifest
FROM trainer.jobs LEFT JOIN trainer.job_manifests ON job_position = position
WHERE project = %(project)s AND job = %(job)s

-- name: add_events
-- The job's row is locked by whoever calls this, so that numbers are neither skipped nor given twice.
INSERT INTO trainer.job_events (job_position, sequence, kind, body)
SELECT %(position)s, %(after)s + place, kind, body
FROM unnest(%(kinds)s::text[], %(bodies)s::jsonb[]) WITH ORDINALITY AS event (kind, body, place)

-- name: announce_checkpoint
INSERT INTO trainer.job_checkpoints (job_position, epoch, step, sha256, size, metrics)
VALUES (%(position)s, %(epoch)s, %(step)s, %(sha256)s, %(size)s, %(metrics)s)
-- A later attempt may make the same bytes once more: they are its own then, and the newest, whatever became of them before.
ON CONFLICT ON CONSTRAINT job_checkpoints_content DO UPDATE
SET number = DEFAULT, epoch = excluded.epoch, discard_time = NULL,
    keep_time = CASE WHEN job_checkpoints.discard_time IS NULL THEN job_checkpoints.keep_time END
WHERE job_checkpoints.epoch < excluded.epoch OR job_checkpoints.discard_time IS NOT NULL

-- name: keep_checkpoint
UPDATE trainer.job_checkpoints SET keep_time = now() WHERE job_position = %(position)s AND sha256 = %(sha256)s

-- name: list_checkpoints
SELECT * FROM trainer.job_checkpoints
WHERE job_position = (SELECT position FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s)
  AND keep_time IS NOT NULL
  AND (%(before)s::bigint IS NULL OR number < %(before)s)
ORDER BY number DESC
LIMIT %(limit)s

-- name: list_discardable_checkpoints
-- Those that no attempt can need: of a job that has ended, older than the last few, or never completed by a worker that no
-- longer has the job. With a number, that one alone.
SELECT checkpoint.*, project
FROM trainer.job_checkpoints AS checkpoint JOIN trainer.jobs AS job ON job.position = job_position
WHERE discard_time IS NULL
  AND (%(number)s::bigint IS NULL OR number = %(number)s)
  AND (
    state IN ('succeeded', 'failed', 'cancelled')
    OR (keep_time IS NULL AND checkpoint.epoch < job.epoch)
    OR %(kept)s <= (
      SELECT count(*) FROM trainer.job_checkpoints AS newer
      WHERE newer.job_position = checkpoint.job_position
        AND newer.number > checkpoint.number
        AND newer.keep_time IS NOT NULL
        AND newer.discard_time IS NULL))
  -- The same training twice makes the same bytes twice: what another job may still need stays.
  AND NOT EXISTS (
    SELECT 1 FROM trainer.job_checkpoints AS same JOIN trainer.jobs AS user_of_it ON user_of_it.position = same.job_position
    WHERE same.sha256 = checkpoint.sha256
      AND same.discard_time IS NULL
      AND same.job_position <> checkpoint.job_position
      AND user_of_it.project = job.project
      AND user_of_it.state NOT IN ('succeeded', 'failed', 'cancelled'))
ORDER BY number
LIMIT %(limit)s

-- name: discard_checkpoint
UPDATE trainer.job_checkpoints SET discard_time = now() WHERE number = %(number)s

-- name: list_told
SELECT kind, body
FROM trainer.job_events
WHERE job_position = (SELECT position FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s)
  AND (kind = 'message' OR (kind = 'metrics' AND (body ->> 'step')::bigint > %(after_step)s))

-- name: list_events
SELECT sequence, time, kind, body
FROM trainer.job_events
WHERE job_position = (SELECT position FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s)
  AND sequence > %(after)s
ORDER BY sequence
LIMIT %(limit)s

-- name: list_events_descending
SELECT sequence, time, kind, body
FROM trainer.job_events
WHERE job_position = (SELECT position FROM trainer.jobs WHERE project = %(project)s AND job = %(job)s)
  AND (%(after)s = 0 OR sequence < %(after)s)
ORDER BY sequence DESC
LIMIT %(limit)s

-- name: notify
SELECT pg_notify(%(channel)s, %(payload)s)
