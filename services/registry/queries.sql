-- The registry's statements. Lists ask for what lies behind a key, so that rows that come or go meanwhile neither repeat
-- nor hide others.

-- name: insert_base_model
-- Answers nothing where the id is taken.
INSERT INTO registry.base_models (base_model, display_name, fingerprint_id, fingerprint, document, sources)
VALUES (%(base_model)s, %(display_name)s, %(fingerprint_id)s, %(fingerprint)s, %(document)s, %(sources)s)
ON CONFLICT DO NOTHING
RETURNING base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time

-- name: find_base_model
-- The document can be megabytes, so it is read only where it is asked for.
SELECT base_model, display_name, fingerprint, CASE WHEN %(document)s THEN document ELSE '' END AS document,
       sources, revision, create_time, update_time
FROM registry.base_models
WHERE base_model = %(base_model)s

-- name: lock_base_model
-- Two callers that add sources at the same time take turns.
SELECT base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time
FROM registry.base_models
WHERE base_model = %(base_model)s
FOR NO KEY UPDATE

-- name: set_sources
UPDATE registry.base_models
SET sources = %(sources)s, revision = nextval('registry.revisions'), update_time = clock_timestamp()
WHERE base_model = %(base_model)s
RETURNING base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time

-- name: list_base_models
SELECT base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time
FROM registry.base_models
WHERE base_model > %(after)s
ORDER BY base_model
LIMIT %(limit)s

-- name: list_base_models_of_fingerprint
-- A statement of its own, so that its index is used.
SELECT base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time
FROM registry.base_models
WHERE fingerprint_id = %(fingerprint_id)s AND base_model > %(after)s
ORDER BY base_model
LIMIT %(limit)s

-- name: keep_base_model_of_fingerprint
-- Until the transaction ends, it is not deleted. One that is being deleted is passed over for another.
SELECT 1 FROM registry.base_models WHERE fingerprint_id = %(fingerprint_id)s LIMIT 1 FOR KEY SHARE

-- name: keep_base_model
SELECT base_model, display_name, fingerprint, ''::bytea AS document, sources, revision, create_time, update_time
FROM registry.base_models
WHERE base_model = %(base_model)s
FOR KEY SHARE

-- name: lock_twins
-- All that have the fingerprint, so that no two of them are deleted at the same time, each because of the other; in one order.
SELECT base_model FROM registry.base_models WHERE fingerprint_id = %(fingerprint_id)s ORDER BY base_model FOR UPDATE

-- name: list_versions_on
-- Those that can still answer, of all projects, and how many they are.
SELECT v.project, v.adapter, v.version, count(*) OVER () AS total
FROM registry.adapter_versions v
WHERE v.base_fingerprint_id = %(fingerprint_id)s
  AND NOT EXISTS (SELECT 1 FROM registry.revocations r WHERE (r.project, r.version) = (v.project, v.version))
ORDER BY v.number
LIMIT %(limit)s

-- name: delete_base_model
DELETE FROM registry.base_models WHERE base_model = %(base_model)s

-- name: insert_adapter
-- Answers nothing where the id is taken.
INSERT INTO registry.adapters (project, adapter, display_name, description)
VALUES (%(project)s, %(adapter)s, %(display_name)s, %(description)s)
ON CONFLICT DO NOTHING
RETURNING *

-- name: find_adapter
SELECT * FROM registry.adapters WHERE project = %(project)s AND adapter = %(adapter)s

-- name: lock_adapter
-- Every change below an adapter starts here, so that changes of one adapter take turns.
SELECT * FROM registry.adapters WHERE project = %(project)s AND adapter = %(adapter)s FOR NO KEY UPDATE

-- name: count_below_adapter
SELECT (SELECT count(*) FROM registry.adapter_versions WHERE project = %(project)s AND adapter = %(adapter)s) AS versions,
       (SELECT count(*) FROM registry.aliases WHERE project = %(project)s AND adapter = %(adapter)s) AS aliases

-- name: delete_aliases_of_adapter
DELETE FROM registry.aliases WHERE project = %(project)s AND adapter = %(adapter)s

-- name: delete_versions_of_adapter
DELETE FROM registry.adapter_versions WHERE project = %(project)s AND adapter = %(adapter)s

-- name: delete_adapter
DELETE FROM registry.adapters WHERE project = %(project)s AND adapter = %(adapter)s

-- name: touch_adapter
UPDATE registry.adapters
SET revision = nextval('registry.revisions'), update_time = clock_timestamp()
WHERE project = %(project)s AND adapter = %(adapter)s

-- name: list_adapters
SELECT * FROM registry.adapters
WHERE project = %(project)s AND adapter > %(after)s
ORDER BY adapter
LIMIT %(limit)s

-- name: insert_version
INSERT INTO registry.adapter_versions
  (project, adapter, version, manifest, base_model, base_fingerprint_id, training_job, files, provenance)
VALUES
  (%(project)s, %(adapter)s, %(version)s, %(manifest)s, %(base_model)s, %(base_fingerprint_id)s, %(training_job)s,
   %(files)s, %(provenance)s)

-- name: insert_signatures
-- A key signs once: what it signed before stays.
INSERT INTO registry.version_signatures (project, adapter, version, key_id, signature)
SELECT %(project)s, %(adapter)s, %(version)s, key_id, signature
FROM unnest(%(key_ids)s::text[], %(signatures)s::bytea[]) AS new (key_id, signature)
ON CONFLICT DO NOTHING

-- name: insert_revocation
-- Two who withdraw it under two names meet here; the first reason stays.
INSERT INTO registry.revocations (project, adapter, version, reason)
VALUES (%(project)s, %(adapter)s, %(version)s, %(reason)s)
ON CONFLICT DO NOTHING

-- name: find_version
SELECT * FROM registry.versions
WHERE project = %(project)s AND adapter = %(adapter)s AND version = %(version)s

-- name: make_ready
UPDATE registry.adapter_versions
SET ready_time = clock_timestamp()
WHERE project = %(project)s AND adapter = %(adapter)s AND version = %(version)s AND ready_time IS NULL

-- name: delete_version
DELETE FROM registry.adapter_versions
WHERE project = %(project)s AND adapter = %(adapter)s AND version = %(version)s

-- name: find_used_files
SELECT DISTINCT sha256
FROM registry.adapter_versions, unnest(registry.digests(files)) AS sha256
WHERE project = %(project)s AND registry.digests(files) && %(sha256s)s::text[] AND sha256 = ANY (%(sha256s)s::text[])

-- name: list_versions
-- Newest first, without manifests. The changes of one adapter take turns, so its numbers appear in their order.
SELECT project, adapter, version, ''::bytea AS manifest, base_model, base_fingerprint_id, training_job, files, number,
       provenance, create_time, ready_time, key_ids, signatures, revoke_time, revoke_reason
FROM registry.versions
WHERE project = %(project)s AND adapter = %(adapter)s AND number < %(before)s
ORDER BY number DESC
LIMIT %(limit)s

-- name: find_alias
SELECT * FROM registry.aliases
WHERE project = %(project)s AND adapter = %(adapter)s AND alias = %(alias)s

-- name: put_alias
INSERT INTO registry.aliases (project, adapter, alias, version, gated, reason)
VALUES (%(project)s, %(adapter)s, %(alias)s, %(version)s, %(gated)s, %(reason)s)
ON CONFLICT (project, adapter, alias) DO UPDATE
SET version = excluded.version, gated = excluded.gated, reason = excluded.reason, revision = excluded.revision, update_time = excluded.update_time
RETURNING *

-- name: delete_alias
DELETE FROM registry.aliases
WHERE project = %(project)s AND adapter = %(adapter)s AND alias = %(alias)s

-- name: list_aliases_of_version
SELECT * FROM registry.aliases
WHERE project = %(project)s AND adapter = %(adapter)s AND version = %(version)s
ORDER BY alias

-- name: list_aliases
SELECT * FROM registry.aliases
WHERE project = %(project)s AND adapter = %(adapter)s AND alias > %(after)s
ORDER BY alias
LIMIT %(limit)s
