"""The base, the adapter on it, and the files it becomes."""
