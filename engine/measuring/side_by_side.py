"""How far the answers of one backend are from those of another: the largest difference over the largest size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.checks import describe
from engine.errors import bad_type
from engine.plain_arrays import refuse_own_rules

#: Two backends agree if no relative difference, of a whole tensor or of a single time step, is larger.  Sums are added
#: in another order by every library: of some thousand terms that costs a few hundred roundings (2e-16 and 1e-7), and
#: each time step hands its own on to the next.
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}


@dataclass(frozen=True)
class Differences:
    """One backend's answers beside another's.

    Attributes
    ----------
    whole : by tensor, the largest difference over the tensor's largest size.
    by_step : by tensor with a time axis, the same for each time step; NaN where the step is all zeros on both sides.
    """

    whole: dict[str, float]
    by_step: dict[str, np.ndarray]

    @property
    def worst(self) -> float:
        """The largest of all."""
        return self._worst()[0]

    @property
    def worst_at(self) -> str:
        """Where the largest of all is, in words."""
        return self._worst()[1]

    def _worst(self) -> tuple[float, str]:
        found = [(value, name) for name, value in self.whole.items()]
        for name, values in self.by_step.items():
            found += [(float(value), f"{name} at step {t}") for t, value in enumerate(values) if not math.isnan(value)]
        return max(found, key=lambda pair: pair[0])

    def agree(self, dtype: str) -> bool:
        """Whether rounding of the dtype explains every difference; it never explains a NaN."""
        return self.worst <= TOLERANCE[dtype]


def compare(
    values: Mapping[str, np.ndarray],
    by_step: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
    wanted_by_step: Mapping[str, np.ndarray],
) -> Differences:
    """The differences of values from those that are wanted; the names are the same on both sides."""
    whole = {name: relative(values[name], wanted[name]) for name in wanted}
    return Differences(whole, {name: _by_step(by_step[name], array) for name, array in wanted_by_step.items()})


def _by_step(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`relative` for each time step (T,); NaN where both sides are zeros, as past the end of every row."""
    pairs = zip(found, wanted, strict=True)
    return np.array([relative(one, other) if one.any() or other.any() else math.nan for one, other in pairs])


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over largest size; infinite if that is undefined (a NaN, or a size of 0 beside another)."""
    for name, array in (("found", found), ("wanted", wanted)):
        refuse_own_rules(name, array)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise bad_type(name, "a NumPy array of numbers", describe(array))
    if found.shape != wanted.shape:
        return math.inf
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(all="ignore"):
        gap, size = np.max(np.abs(found - wanted), initial=0.0), np.max(np.abs(wanted), initial=0.0)
        ratio = 0.0 if gap == 0 else float(gap / size)
    return ratio if math.isfinite(ratio) else math.inf
