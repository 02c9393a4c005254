"""A claimed gradient beside the right one, and what is known around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

#: A pattern fits if it leaves no more than these parts of the numbers, and of the error.
FIT, LEFT = 1e-4, 1e-2
#: Fewer entries than this fit too many patterns by chance.
ENOUGH = 3


@dataclass(frozen=True)
class Around:
    """What is known beside the two gradients.

    Attributes
    ----------
    sizes : lengths of axes by their names, the likeliest first; such as ``{"T": 6, "B": 3}``.
    scalars : numbers between 0 and 1 among the inputs, such as the rate of a dropout, by name.
    values : the tensor itself.
    vectors : other tensors of one axis, by name.
    squares : square matrices, by name.
    repeated : by name of an integer input, for each entry of axis 0 whether its index occurs twice or more there.
    time_axis : the axis that counts time steps.
    dout : the gradient of the output if that is one number; both gradients are multiples of it.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    values: np.ndarray | None = None
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    squares: Mapping[str, np.ndarray] = field(default_factory=dict)
    repeated: Mapping[str, np.ndarray] = field(default_factory=dict)
    time_axis: int | None = None
    dout: float = 1.0


@dataclass(frozen=True)
class Pair:
    """A claimed gradient, the right one, and where they differ."""

    claimed: np.ndarray
    numeric: np.ndarray
    departs: np.ndarray
    around: Around

    @property
    def gap(self) -> np.ndarray:
        """How far the claim is off, entry by entry."""
        return self.claimed - self.numeric

    @property
    def everywhere(self) -> bool:
        """Whether every entry departs that can depart."""
        return bool((self.departs | ((self.claimed == 0) & (self.numeric == 0))).all())

    @property
    def place(self) -> str:
        """The word for where the entries that depart are."""
        return "everywhere" if self.everywhere else "there"

    def explained_by(self, candidate: np.ndarray, where: np.ndarray | None = None) -> bool:
        """Whether the claimed numbers are these, to a small part of the numbers and of the error."""
        where = np.ones(self.claimed.shape, dtype=bool) if where is None else where
        left = np.max(np.abs(self.claimed - candidate), initial=0.0, where=where)
        size = np.max(np.abs(self.numeric), initial=0.0, where=where)
        error = np.max(np.abs(self.gap), initial=0.0, where=where & self.departs)
        return bool(left <= FIT * max(size, error) and left <= LEFT * error)
