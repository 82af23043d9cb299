"""Training jobs as the server sees them: admitted, planned, queued, followed, paused, cancelled."""
