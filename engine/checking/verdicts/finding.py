"""The result of a gradient check for one tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.checking.oracles import methods
from engine.checking.subjects.subject import Part


@dataclass
class Finding:
    """What was found for one tensor.  G groups of outputs; the first is all of them.

    Attributes
    ----------
    part : the tensor.
    claimed, numeric : (G, ...) gradients; for methods that look along directions (G, n) derivatives.
    allowed : how far they may lie apart.
    scale : the size of each entry's slice.
    departs : where they lie farther apart.
    hidden : (...) where, for all outputs together, nothing can be decided.
    looks : the directions, for methods that look along some.
    slope : whether claimed and numeric are orders of a Taylor remainder in place of derivatives.
    verdict : of this tensor.
    entries : flat indices of the entries that were checked, if some were left out; None means all.
    scanned : along how many directions it was checked as well.
    """

    part: Part
    claimed: np.ndarray
    numeric: np.ndarray
    allowed: np.ndarray
    scale: np.ndarray
    departs: np.ndarray
    hidden: np.ndarray
    looks: list[methods.Direction] = field(default_factory=list)
    slope: bool = False
    verdict: str = "ok"
    entries: np.ndarray | None = None
    scanned: int = 0

    @property
    def looked(self) -> np.ndarray | None:
        """Where entries were looked at; None is everywhere."""
        if self.entries is None:
            return self.part.free
        return np.isin(np.arange(self.part.size), self.entries).reshape(self.part.shape)

    def errors(self) -> np.ndarray:
        """Errors relative to each slice, NaN as infinity."""
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(self.claimed - self.numeric) / np.maximum(self.scale, 1e-300)
        return np.where(np.isnan(error), np.inf, error)
