"""The artifact store: content-addressed blobs, one space per project, on a file system or in S3."""
