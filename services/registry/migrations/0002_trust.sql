-- Who vouches for a version: its provenance, its signatures, and whether it was withdrawn.

-- Versions from before were all trained here: their scheme knew nothing else.
ALTER TABLE registry.adapter_versions
  ADD COLUMN provenance text NOT NULL DEFAULT 'witnessed' CHECK (provenance IN ('witnessed', 'declared'));
ALTER TABLE registry.adapter_versions ALTER COLUMN provenance DROP DEFAULT;

DROP TRIGGER version_is_immutable ON registry.adapter_versions;
CREATE TRIGGER version_is_immutable BEFORE UPDATE ON registry.adapter_versions FOR EACH ROW
  WHEN (
    OLD.ready_time IS NOT NULL
    OR (OLD.project, OLD.adapter, OLD.version, OLD.number, OLD.base_model, OLD.base_fingerprint_id, OLD.training_job,
        OLD.files::text, OLD.create_time, OLD.provenance)
      IS DISTINCT FROM
       (NEW.project, NEW.adapter, NEW.version, NEW.number, NEW.base_model, NEW.base_fingerprint_id, NEW.training_job,
        NEW.files::text, NEW.create_time, NEW.provenance)
  )
  EXECUTE FUNCTION registry.refuse_change_of_version();

-- Signatures of the manifest by keys that were trusted when they came. Versions from before have none.
CREATE TABLE registry.version_signatures (
  project   text COLLATE "C" NOT NULL,
  adapter   text COLLATE "C" NOT NULL,
  version   text COLLATE "C" NOT NULL,
  key_id    text COLLATE "C" NOT NULL CHECK (key_id ~ '^[0-9a-f]{64}$'),
  signature bytea NOT NULL CHECK (length(signature) = 64),
  -- Newer ones have larger numbers.
  number    bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (project, adapter, version, key_id),
  FOREIGN KEY (project, adapter, version) REFERENCES registry.adapter_versions
);

-- A version is withdrawn wherever it is in its project: the same bytes under another adapter's name are the same version.
CREATE TABLE registry.revocations (
  project     text COLLATE "C" NOT NULL,
  version     text COLLATE "C" NOT NULL,
  -- Whose version it was called when it was withdrawn.
  adapter     text COLLATE "C" NOT NULL,
  reason      text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
  revoke_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (project, version),
  FOREIGN KEY (project, adapter, version) REFERENCES registry.adapter_versions
);

-- What was signed and what was withdrawn stays so.
CREATE FUNCTION registry.refuse_change_of_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of registry.% are added and never changed', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER signatures_stay BEFORE UPDATE OR DELETE ON registry.version_signatures FOR EACH ROW
  EXECUTE FUNCTION registry.refuse_change_of_record();
CREATE TRIGGER revocations_stay BEFORE UPDATE OR DELETE ON registry.revocations FOR EACH ROW
  EXECUTE FUNCTION registry.refuse_change_of_record();

-- A version with all that is known of it; signatures newest first.
CREATE VIEW registry.versions AS
SELECT v.project, v.adapter, v.version, v.number, v.manifest, v.base_model, v.base_fingerprint_id, v.training_job,
       v.files, v.provenance, v.create_time, v.ready_time,
       ARRAY(
         SELECT s.key_id FROM registry.version_signatures s
         WHERE (s.project, s.adapter, s.version) = (v.project, v.adapter, v.version) ORDER BY s.number DESC
       ) AS key_ids,
       ARRAY(
         SELECT s.signature FROM registry.version_signatures s
         WHERE (s.project, s.adapter, s.version) = (v.project, v.adapter, v.version) ORDER BY s.number DESC
       ) AS signatures,
       r.revoke_time, r.reason AS revoke_reason
FROM registry.adapter_versions v
LEFT JOIN registry.revocations r ON (r.project, r.version) = (v.project, v.version);
