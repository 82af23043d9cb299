-- Base models, adapters, their versions and aliases. Ids sort by their bytes (COLLATE "C"), so that a page token means
-- the same on every machine.

-- Revisions come from one sequence: an alias that was deleted and made again never has an etag it had before.
CREATE SEQUENCE registry.revisions;

CREATE TABLE registry.base_models (
  base_model     text COLLATE "C" PRIMARY KEY,
  display_name   text NOT NULL,
  fingerprint_id text NOT NULL CHECK (fingerprint_id ~ '^[0-9a-f]{64}$'),
  -- json, not jsonb: numbers keep their spelling, over which the id was taken.
  fingerprint    json NOT NULL,
  document       bytea NOT NULL,
  sources        text[] NOT NULL CHECK (cardinality(sources) > 0),
  revision       bigint NOT NULL DEFAULT nextval('registry.revisions'),
  create_time    timestamptz NOT NULL DEFAULT now(),
  update_time    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX base_models_by_fingerprint ON registry.base_models (fingerprint_id, base_model);

CREATE TABLE registry.adapters (
  project      text COLLATE "C" NOT NULL,
  adapter      text COLLATE "C" NOT NULL,
  display_name text NOT NULL,
  description  text NOT NULL,
  revision     bigint NOT NULL DEFAULT nextval('registry.revisions'),
  create_time  timestamptz NOT NULL DEFAULT now(),
  update_time  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project, adapter)
);

CREATE TABLE registry.adapter_versions (
  project             text COLLATE "C" NOT NULL,
  adapter             text COLLATE "C" NOT NULL,
  version             text COLLATE "C" NOT NULL,
  number              bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  manifest            bytea NOT NULL,
  base_model          text NOT NULL,
  base_fingerprint_id text NOT NULL CHECK (base_fingerprint_id ~ '^[0-9a-f]{64}$'),
  training_job        text NOT NULL,
  files               json NOT NULL,
  create_time         timestamptz NOT NULL DEFAULT now(),
  ready_time          timestamptz,
  ready               boolean GENERATED ALWAYS AS (ready_time IS NOT NULL) STORED,
  PRIMARY KEY (project, adapter, version),
  -- What an alias refers to.
  UNIQUE (project, adapter, version, ready),
  FOREIGN KEY (project, adapter) REFERENCES registry.adapters,
  CONSTRAINT version_is_the_digest_of_its_manifest CHECK (version = encode(sha256(manifest), 'hex'))
);
CREATE INDEX adapter_versions_newest_first ON registry.adapter_versions (project, adapter, number DESC);

-- The one change a version may ever see is from PENDING (no ready_time) to READY.
CREATE FUNCTION registry.refuse_change_of_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'adapter version %/%/% is immutable', OLD.project, OLD.adapter, OLD.version
    USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER version_is_immutable BEFORE UPDATE ON registry.adapter_versions FOR EACH ROW
  WHEN (
    OLD.ready_time IS NOT NULL
    OR (OLD.project, OLD.adapter, OLD.version, OLD.number, OLD.base_model, OLD.base_fingerprint_id, OLD.training_job,
        OLD.files::text, OLD.create_time)
      IS DISTINCT FROM
       (NEW.project, NEW.adapter, NEW.version, NEW.number, NEW.base_model, NEW.base_fingerprint_id, NEW.training_job,
        NEW.files::text, NEW.create_time)
  )
  EXECUTE FUNCTION registry.refuse_change_of_version();

CREATE TABLE registry.aliases (
  project     text COLLATE "C" NOT NULL,
  adapter     text COLLATE "C" NOT NULL,
  alias       text COLLATE "C" NOT NULL,
  version     text COLLATE "C" NOT NULL,
  -- Always true, and part of the reference: an alias cannot point at a version that is not READY.
  ready       boolean NOT NULL DEFAULT true CHECK (ready),
  revision    bigint NOT NULL DEFAULT nextval('registry.revisions'),
  -- Not now(): who waited for a lock would record when the waiting began.
  update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (project, adapter, alias),
  FOREIGN KEY (project, adapter, version, ready)
    REFERENCES registry.adapter_versions (project, adapter, version, ready)
);

-- First answers of calls that carried a request_id (services/common/idempotency.py).
CREATE TABLE registry.requests (
  principal   text NOT NULL,
  method      text NOT NULL,
  request_id  uuid NOT NULL,
  digest      text NOT NULL,
  response    bytea,
  create_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX requests_create_time ON registry.requests (create_time);
