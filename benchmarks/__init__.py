"""Measurements. Nothing here is a test: machines differ and are shared, so figures are printed and not asserted."""
