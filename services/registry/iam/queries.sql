-- The statements of projects, keys and the audit log.

-- name: insert_project
INSERT INTO iam.projects (project, display_name) VALUES (%(project)s, %(display_name)s)
ON CONFLICT DO NOTHING
RETURNING project, display_name, create_time

-- name: list_projects
SELECT project, display_name, create_time FROM iam.projects
WHERE delete_time IS NULL AND project > %(after)s AND (%(only)s::text IS NULL OR project = %(only)s)
ORDER BY project LIMIT %(limit)s

-- name: lock_project
SELECT 1 FROM iam.projects WHERE project = %(project)s AND delete_time IS NULL FOR UPDATE

-- name: list_valid_keys
SELECT api_key, count(*) OVER () AS total FROM iam.api_keys
WHERE project = %(project)s AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())
ORDER BY position LIMIT %(limit)s

-- name: delete_project
UPDATE iam.projects SET delete_time = now() WHERE project = %(project)s

-- name: insert_key
-- Answers nothing where the project is not there, and keeps it from being deleted meanwhile.
INSERT INTO iam.api_keys (project, api_key, display_name, prefix, digest, scopes, all_projects, requests_per_minute,
                          tokens_per_minute, creator, expire_time)
SELECT project, %(api_key)s, %(display_name)s, %(prefix)s, %(digest)s, %(scopes)s, %(all_projects)s, %(requests_per_minute)s,
       %(tokens_per_minute)s, %(creator)s, %(expire_time)s
FROM iam.projects WHERE project = %(project)s AND delete_time IS NULL FOR SHARE
RETURNING *

-- name: find_key
SELECT * FROM iam.api_keys WHERE project = %(project)s AND api_key = %(api_key)s

-- name: list_keys
SELECT * FROM iam.api_keys
WHERE project = %(project)s AND (%(before)s::bigint IS NULL OR position < %(before)s)
ORDER BY position DESC LIMIT %(limit)s

-- name: revoke_key
UPDATE iam.api_keys SET revoke_time = coalesce(revoke_time, now())
WHERE project = %(project)s AND api_key = %(api_key)s
RETURNING *

-- name: find_valid_key
SELECT * FROM iam.api_keys
WHERE digest = %(digest)s AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())

-- name: replace_admin_key
-- The key that an embedded suite keeps in a file: one, of that digest.
INSERT INTO iam.api_keys (project, api_key, display_name, prefix, digest, scopes, all_projects, requests_per_minute,
                          tokens_per_minute, creator)
VALUES ('default', %(api_key)s, %(display_name)s, %(prefix)s, %(digest)s, '{admin}', true, 0, 0, 'services/registry')
ON CONFLICT (project, api_key) DO UPDATE
SET digest = excluded.digest, prefix = excluded.prefix, revoke_time = NULL, create_time = now()
WHERE iam.api_keys.digest <> excluded.digest OR iam.api_keys.revoke_time IS NOT NULL

-- name: insert_audit_event
INSERT INTO iam.audit_events (time, principal, project, method, resource, peer, code)
VALUES (to_timestamp(%(time)s), %(principal)s, %(project)s, %(method)s, %(resource)s, %(peer)s, %(code)s)

-- name: list_audit_events
SELECT * FROM iam.audit_events
WHERE (%(project)s::text IS NULL OR project = %(project)s) AND (%(before)s::bigint IS NULL OR sequence < %(before)s)
ORDER BY sequence DESC LIMIT %(limit)s
