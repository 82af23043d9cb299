"""Data sets and small base models that the demo and the tests work on."""
