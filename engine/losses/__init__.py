"""Losses with their gradients, a file each; `positions` holds what they share: masks and means."""

from engine.losses.cross_entropy import cross_entropy
from engine.losses.mse import mse

__all__ = ["cross_entropy", "mse"]
