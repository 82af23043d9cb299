"""Who may do what: projects, API keys and the audit log, in a schema of their own."""
