-- Aliases that move only to versions whose training report says that they learned, or with a reason, which is kept.
ALTER TABLE registry.aliases
  ADD COLUMN gated boolean NOT NULL DEFAULT false,
  ADD COLUMN reason text NOT NULL DEFAULT '';
