"""Picking tokens: many rows at once, each by its own rules."""

from services.inference.engine.sampling.pick import Picked, pick
from services.inference.engine.sampling.row import RowPicker

__all__ = ["Picked", "RowPicker", "pick"]
