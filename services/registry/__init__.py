"""The registry: base models, adapters, their versions and aliases (tenon.registry.v1)."""
