-- Bytes that somebody is about to refer to from elsewhere, and that nobody may discard meanwhile.
CREATE TABLE trainer.blob_holds (
  project     text NOT NULL,
  sha256      text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  hold_until  timestamptz NOT NULL,
  PRIMARY KEY (project, sha256)
);

-- Who has checkpoints of some content: they are discarded when the last of them needs it no more.
CREATE INDEX job_checkpoints_content_stored ON trainer.job_checkpoints (sha256) WHERE discard_time IS NULL;

-- Whose events are old enough to go.
CREATE INDEX jobs_ended ON trainer.jobs (end_time) WHERE end_time IS NOT NULL;
