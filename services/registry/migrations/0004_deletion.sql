-- What can be deleted, and what is remembered of it.

-- That a version was withdrawn outlives it: the same manifest is not let in again.
ALTER TABLE registry.revocations DROP CONSTRAINT revocations_project_adapter_version_fkey;

-- Signatures go with their version, and only with it.
ALTER TABLE registry.version_signatures
  DROP CONSTRAINT version_signatures_project_adapter_version_fkey,
  ADD CONSTRAINT version_signatures_project_adapter_version_fkey
    FOREIGN KEY (project, adapter, version) REFERENCES registry.adapter_versions ON DELETE CASCADE;
DROP TRIGGER signatures_stay ON registry.version_signatures;
CREATE TRIGGER signatures_stay BEFORE UPDATE ON registry.version_signatures FOR EACH ROW
  EXECUTE FUNCTION registry.refuse_change_of_record();
CREATE FUNCTION registry.refuse_loss_of_signature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (
    SELECT 1 FROM registry.adapter_versions v
    WHERE (v.project, v.adapter, v.version) = (OLD.project, OLD.adapter, OLD.version)
  ) THEN
    RAISE EXCEPTION 'a signature stays as long as its version'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN OLD;
END
$$;
CREATE TRIGGER signatures_go_with_their_version BEFORE DELETE ON registry.version_signatures FOR EACH ROW
  EXECUTE FUNCTION registry.refuse_loss_of_signature();

-- Which versions keep a base from being deleted.
CREATE INDEX adapter_versions_by_base ON registry.adapter_versions (base_fingerprint_id, number);

-- Which versions name a file, so that nobody deletes its bytes.
CREATE FUNCTION registry.digests(files json) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(file ->> 'sha256'), '{}') FROM json_array_elements(files) AS file
$$;
CREATE INDEX adapter_versions_by_file ON registry.adapter_versions USING gin (registry.digests(files));
