"""Data sets: received, checked, listed, measured and previewed."""
