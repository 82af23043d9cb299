CREATE TABLE trainer.datasets (
  position      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project       text NOT NULL,
  dataset       text NOT NULL,
  display_name  text NOT NULL,
  format        text NOT NULL,
  size          bigint NOT NULL CHECK (size >= 0),
  sha256        text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  statistics    jsonb NOT NULL,
  create_time   timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT datasets_name UNIQUE (project, dataset)
);

-- A blob is discarded when its last data set is gone.
CREATE INDEX datasets_content ON trainer.datasets (project, sha256);

CREATE TABLE trainer.jobs (
  position            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project             text NOT NULL,
  job                 text NOT NULL,
  base_model          text NOT NULL,
  base_fingerprint_id text NOT NULL,
  -- By name, not by reference: jobs outlive their data sets.
  dataset             text NOT NULL,
  validation_dataset  text,
  adapter             text NOT NULL,
  hyperparameters     jsonb NOT NULL,
  labels              jsonb NOT NULL,
  state               text NOT NULL CHECK (
    state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')),
  progress            jsonb NOT NULL,
  adapter_version     text,
  error               jsonb,
  attempt             integer NOT NULL,
  losses              integer NOT NULL,
  epoch               integer NOT NULL,
  worker              text,
  batch               integer NOT NULL,
  revision            integer NOT NULL,
  last_sequence       bigint NOT NULL,
  traceparent         text NOT NULL,
  create_time         timestamptz NOT NULL DEFAULT now(),
  start_time          timestamptz,
  end_time            timestamptz,
  lease_expires       timestamptz,
  CONSTRAINT jobs_name UNIQUE (project, job),
  CHECK ((worker IS NOT NULL) = (state IN ('running', 'cancelling'))),
  CHECK ((end_time IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
  CHECK ((adapter_version IS NOT NULL) = (state = 'succeeded')),
  CHECK ((error IS NOT NULL) = (state = 'failed'))
);

-- The queue, and the leases to look after: few rows beside all jobs that ever ran.
CREATE INDEX jobs_queued ON trainer.jobs (position) WHERE state = 'queued';
CREATE INDEX jobs_held ON trainer.jobs (lease_expires) WHERE state IN ('running', 'cancelling');
CREATE INDEX jobs_of_project ON trainer.jobs (project, position);

CREATE TABLE trainer.job_events (
  job_position  bigint NOT NULL REFERENCES trainer.jobs (position) ON DELETE CASCADE,
  sequence      bigint NOT NULL CHECK (sequence > 0),
  time          timestamptz NOT NULL DEFAULT now(),
  kind          text NOT NULL CHECK (kind IN ('state_change', 'metrics', 'message')),
  body          jsonb NOT NULL,
  PRIMARY KEY (job_position, sequence)
);

-- The bytes that name the version a job is publishing, so that a retry publishes the same one. Apart from the job, whose
-- row is read and written all the time.
CREATE TABLE trainer.job_manifests (
  job_position  bigint PRIMARY KEY REFERENCES trainer.jobs (position) ON DELETE CASCADE,
  manifest      bytea NOT NULL
);

-- Answers given to calls that carried a request_id (services/common/idempotency.py).
CREATE TABLE trainer.requests (
  principal    text NOT NULL,
  method       text NOT NULL,
  request_id   uuid NOT NULL,
  digest       text NOT NULL,
  response     bytea,
  create_time  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX requests_create_time ON trainer.requests (create_time);
