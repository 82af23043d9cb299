"""Engines: one base in memory and the adapters attached to it. They know token ids and digests, no names."""
