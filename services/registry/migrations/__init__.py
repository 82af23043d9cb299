"""The registry's schema in Postgres, step by step."""
