"""A real S3 server for tests: OpenStack Swift and its S3 interface in one process, with data that survive a restart."""
