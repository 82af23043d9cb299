-- What a training was reckoned to be, kept with the job; whether it shall be trained though that is hopeless; and what a look at
-- the plan has shown, as events.
ALTER TABLE trainer.jobs
  ADD COLUMN plan jsonb,
  ADD COLUMN force boolean NOT NULL DEFAULT false;

-- Which kinds there are is the program's to know: a migration for each new one would have to name those of all others.
ALTER TABLE trainer.job_events DROP CONSTRAINT job_events_kind_check;
ALTER TABLE trainer.job_events ADD CONSTRAINT job_events_kind_is_a_word CHECK (kind ~ '^[a-z][a-z_]{0,31}$');
