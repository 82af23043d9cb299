-- Whose bytes are in an artifact store: what this database does not know of may be needed by another suite.
CREATE TABLE trainer.suite (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  id       uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO trainer.suite DEFAULT VALUES;
