"""The embedded Postgres: its programs, its directory, and the server process."""
