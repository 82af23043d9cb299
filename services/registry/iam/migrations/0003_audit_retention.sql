-- The log only grows, but for what has become old: that may be let go, and no one can let go of what was done of late.
DROP TRIGGER append_only ON iam.audit_events;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON iam.audit_events
FOR EACH STATEMENT EXECUTE FUNCTION iam.refuse();
CREATE TRIGGER young_entries_stay BEFORE DELETE ON iam.audit_events
FOR EACH ROW WHEN (OLD.time > now() - interval '30 days') EXECUTE FUNCTION iam.refuse();
CREATE INDEX audit_events_by_time ON iam.audit_events (time);
