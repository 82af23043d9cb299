"""An engine that computes all requests together: every row of a step with its own adapter."""
