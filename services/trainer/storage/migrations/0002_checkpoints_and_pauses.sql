ALTER TABLE trainer.jobs
  ADD COLUMN priority integer NOT NULL DEFAULT 0,
  DROP CONSTRAINT jobs_state_check,
  DROP CONSTRAINT jobs_check,
  ADD CONSTRAINT jobs_state_check CHECK (
    state IN ('queued', 'running', 'cancelling', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled')),
  ADD CONSTRAINT jobs_held_check CHECK ((worker IS NOT NULL) = (state IN ('running', 'cancelling', 'pausing')));

DROP INDEX trainer.jobs_queued;
CREATE INDEX jobs_queued ON trainer.jobs (priority DESC, position) WHERE state = 'queued';
DROP INDEX trainer.jobs_held;
CREATE INDEX jobs_held ON trainer.jobs (lease_expires) WHERE state IN ('running', 'cancelling', 'pausing');
-- How many jobs of a project run, for its limit.
CREATE INDEX jobs_held_of_project ON trainer.jobs (project) WHERE state IN ('running', 'cancelling', 'pausing');

ALTER TABLE trainer.job_events
  DROP CONSTRAINT job_events_kind_check,
  ADD CONSTRAINT job_events_kind_check CHECK (kind IN ('state_change', 'metrics', 'message', 'checkpoint'));

-- A row is written before its bytes are uploaded, so that there are never bytes that nobody knows of; keep_time says that
-- they are there, discard_time that they no longer are.
CREATE TABLE trainer.job_checkpoints (
  number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_position  bigint NOT NULL REFERENCES trainer.jobs (position) ON DELETE CASCADE,
  epoch         integer NOT NULL,
  step          bigint NOT NULL CHECK (step > 0),
  sha256        text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  size          bigint NOT NULL CHECK (size > 0),
  metrics       jsonb NOT NULL,
  keep_time     timestamptz,
  discard_time  timestamptz,
  CONSTRAINT job_checkpoints_content UNIQUE (job_position, sha256)
);
-- What is in the artifact store, or may be: few rows beside all checkpoints that ever were.
CREATE INDEX job_checkpoints_stored ON trainer.job_checkpoints (job_position, number) WHERE discard_time IS NULL;
