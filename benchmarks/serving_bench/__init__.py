"""The parts of ``python -m benchmarks.serving``."""
