"""What one timed step computes: a cell, its sizes, and the same numbers for every library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.checks import integer, one_of, switch

#: Gate blocks of a cell; a step's work is proportional to them.
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Numbers that backward needs of each unit and time step: the gates, and h, c, or the GRU's hidden side of n.
KEPT = {"LSTM": 6, "GRU": 5, "RNN": 1}
TIMED_CELLS = tuple(GATES)


@dataclass(frozen=True)
class TimedStep:
    """One step to be timed, float32.

    Attributes
    ----------
    cell : ``"LSTM"``, ``"GRU"`` (reset after) or ``"RNN"`` (tanh).
    T, B, D, H : time steps, rows, input features, hidden units.
    layers, bidirectional : as in the layers' constructors.
    mixed : rows of different length, from T down to T/4.
    training : forward, and backward to the input and to every parameter; else inference alone.
    """

    cell: str
    T: int
    B: int
    D: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    mixed: bool = False
    training: bool = True

    def __post_init__(self) -> None:
        one_of("cell", self.cell, TIMED_CELLS)
        for name in ("T", "B", "D", "H", "layers"):
            integer(name, getattr(self, name), 1)
        for name in ("bidirectional", "mixed", "training"):
            switch(name, getattr(self, name))

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; ``TimedStep(**case.as_dict())`` is the case again."""
        return asdict(self)

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 1 + self.bidirectional

    def lengths(self) -> np.ndarray | None:
        """(B,) int64, None if all rows have T steps.

        The longest row comes first: PyTorch packs such a batch without sorting it.
        """
        if not self.mixed:
            return None
        return np.linspace(self.T, max(1, self.T // 4), self.B).round().astype(np.int64)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters, in PyTorch's names and order."""
        rows = GATES[self.cell] * self.H
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            width = self.D if layer == 0 else self.directions * self.H
            for end in (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]:
                shapes["weight_ih" + end] = (rows, width)
                shapes["weight_hh" + end] = (rows, self.H)
                shapes["bias_ih" + end] = shapes["bias_hh" + end] = (rows,)
        return shapes

    def flops(self) -> float:
        """Additions and multiplications in the matrix products of one step; what is done gate by gate is left out.

        Backward has two products for each of forward's: one for the gradient of either factor.
        """
        lengths = self.lengths()
        positions = self.T * self.B if lengths is None else int(lengths.sum())
        weights = sum(np.prod(shape) for shape in self.shapes().values() if len(shape) == 2)
        return float(2.0 * positions * weights * (3 if self.training else 1))

    def activations(self) -> int:
        """Bytes that backward needs if nothing is computed again."""
        return 4 * self.T * self.B * self.H * KEPT[self.cell] * self.layers * self.directions

    def parameters(self) -> dict[str, np.ndarray]:
        """First values of all parameters, the same for every library: uniform within 1/sqrt(H)."""
        rng, bound = np.random.default_rng(0), np.float32(self.H**-0.5)
        return {name: (2 * rng.random(shape, dtype=np.float32) - 1) * bound for name, shape in self.shapes().items()}

    def x(self) -> np.ndarray:
        """The input (T, B, D)."""
        return np.random.default_rng(1).standard_normal((self.T, self.B, self.D), dtype=np.float32)

    def dy(self) -> np.ndarray:
        """The gradient of the output (T, B, N*H)."""
        shape = (self.T, self.B, self.directions * self.H)
        return np.random.default_rng(2).standard_normal(shape, dtype=np.float32)

    def __str__(self) -> str:
        words = f"{self.cell} B={self.B} T={self.T} H={self.H}"
        words += f" D={self.D}" * (self.D != self.H) + f" L={self.layers}" * (self.layers > 1)
        return words + " bidirectional" * self.bidirectional + " mixed" * self.mixed
