"""The routes, by resource: HTTP in, one or a few calls, HTTP out."""
