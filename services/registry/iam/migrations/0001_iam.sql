-- Projects, API keys, and the log of what was done. Ids sort by their bytes (COLLATE "C").

CREATE TABLE iam.projects (
  project      text COLLATE "C" PRIMARY KEY,
  display_name text NOT NULL,
  create_time  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO iam.projects (project, display_name) VALUES ('default', '');

-- Of a key there is its digest alone.
CREATE TABLE iam.api_keys (
  position            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  project             text COLLATE "C" NOT NULL REFERENCES iam.projects,
  api_key             text COLLATE "C" NOT NULL,
  display_name        text NOT NULL,
  prefix              text NOT NULL,
  digest              text NOT NULL UNIQUE CHECK (digest ~ '^[0-9a-f]{64}$'),
  scopes              text[] NOT NULL CHECK (cardinality(scopes) > 0),
  all_projects        boolean NOT NULL,
  requests_per_minute bigint NOT NULL CHECK (requests_per_minute >= 0),
  tokens_per_minute   bigint NOT NULL CHECK (tokens_per_minute >= 0),
  creator             text NOT NULL,
  create_time         timestamptz NOT NULL DEFAULT now(),
  expire_time         timestamptz,
  revoke_time         timestamptz,
  PRIMARY KEY (project, api_key)
);

CREATE TABLE iam.audit_events (
  sequence  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  time      timestamptz NOT NULL,
  principal text NOT NULL,
  project   text COLLATE "C" NOT NULL,
  method    text NOT NULL,
  resource  text NOT NULL,
  peer      text NOT NULL,
  code      text NOT NULL
);
CREATE INDEX audit_events_by_project ON iam.audit_events (project, sequence);

-- The log only grows.
CREATE FUNCTION iam.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'iam.audit_events is append-only'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON iam.audit_events
FOR EACH STATEMENT EXECUTE FUNCTION iam.refuse();
