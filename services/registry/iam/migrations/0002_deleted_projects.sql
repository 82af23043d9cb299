-- A deleted project's row stays, so that its id is never given to anybody else: what is left under it somewhere, in a log or in a
-- backup, is not theirs.
ALTER TABLE iam.projects ADD COLUMN delete_time timestamptz;
