"""Where data sets and jobs are kept: the interface, Postgres behind it, and a memory of one process for tests."""
