"""Adapters on their way in and out: published, imported, exported."""
