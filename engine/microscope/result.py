"""What the microscope has measured: plain arrays by name, a table, a picture, JSON.

Shapes: T time steps, B rows of the batch, H hidden units, R rows for which Jacobians were measured, K slots of them.
Slot t is the state before step t, slot T the one after the last step (docs/notation.md).  In the reverse direction
steps are counted in processing order: step 0 is each row's last valid step.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: The verdicts, most serious first.
VERDICTS = ("non-finite", "exploding", "vanishing", "no gradient", "steady", "cannot tell")


@dataclass(frozen=True)
class GateFlow:
    """One gate over time, over all rows that are still valid and all units.

    Attributes
    ----------
    activation : str or None
        The function that makes the gate, as its equation says: ``"sigmoid"``, ``"tanh"``, ``"relu"``; None for any
        other formula.
    bounds : tuple of two floats, or None
        The range of that function; None where it is not known.
    mean, spread : numpy.ndarray (T,)
        Mean and standard deviation of the activations of each step; NaN where no row is valid.
    near_low, near_high : numpy.ndarray (T,)
        Share of the activations within a tenth of the range of a bound: below 0.1 or above 0.9 for a sigmoid (the
        definition of Karpathy, Johnson and Li 2015), below -0.8 or above 0.8 for tanh.  There the slope is at most 36 %
        of the largest slope.  For relu ``near_low`` is the share of zeros, where the slope is 0, and ``near_high`` is
        0.  NaN without bounds.
    adjoint, adjoint_hidden : numpy.ndarray (T,)
        Norm of the gradient of the gate's pre-activation at each step: on the input side, and on the hidden side, which
        differs for a gate with two gradients, such as n of a GRU.
    """

    activation: str | None
    bounds: tuple[float, float] | None
    mean: np.ndarray
    spread: np.ndarray
    near_low: np.ndarray
    near_high: np.ndarray
    adjoint: np.ndarray
    adjoint_hidden: np.ndarray

    @property
    def saturation(self) -> np.ndarray:
        """Share of the activations near either bound (T,)."""
        return self.near_low + self.near_high


@dataclass(frozen=True)
class WeightFlow:
    """How the gradient of one parameter is made of the steps: dW is the sum of dW_t over the steps.

    Attributes
    ----------
    gradient_norm : float
        Norm of dW.
    share : numpy.ndarray (T,)
        <dW_t, dW> / <dW, dW>: how much of dW step t gives, along dW's own direction.  The shares sum to 1.  One is
        negative where a step pulls the other way.  NaN where dW is 0.
    norm : numpy.ndarray (T,)
        Norm of each dW_t; their sum is larger than that of dW where steps pull in different directions.
    """

    gradient_norm: float
    share: np.ndarray
    norm: np.ndarray


@dataclass(frozen=True)
class Jacobians:
    """Spectral norms of derivatives of the state, for each row by itself, from power iteration.

    A norm says how much the most favourable small change grows.  The values are lower bounds that have converged up to
    `change`.  The end of a row is the slot after its last valid step.

    Attributes
    ----------
    step : dict of numpy.ndarray (T, R)
        ||dS[t+1]/dS[t]|| of each step: S is ``"all"``, every state of the cell in one vector, and each state by itself,
        the others held.  Past a row's end NaN.
    slots : numpy.ndarray (K,)
        The slots t of the arrays below, from 0 up to T: all of them, or in long sequences and large layers some, evenly
        spread.
    to_end : dict of numpy.ndarray (K, R)
        ||dS[end]/dS[t]||: ``"all"``, all states by all states; ``"h"``, h by h, through every path.  In ``"all"``
        states of different size stand side by side, so its value depends on how the cell scales them.
    to_h : numpy.ndarray (K, R)
        ||dh[end]/d(all states)[t]||: how much the h at the end depends on the whole state at slot t, at most.
    change : float
        The largest relative change of any of these norms in its last iteration.
    """

    step: dict[str, np.ndarray]
    slots: np.ndarray
    to_end: dict[str, np.ndarray]
    to_h: np.ndarray
    change: float


@dataclass(frozen=True, repr=False)
class DirectionFlow:
    """What was measured at one layer and direction.

    Attributes
    ----------
    name : str
        Such as ``"l0"`` or ``"l1_reverse"``, the endings of its parameters' names; in a Sequential ``"0.l0"``.
    cell : str
        The name of its cell.
    steps, batch, units : int
        T, B and H.
    lengths : numpy.ndarray (B,)
        The number of valid steps of each row.
    states : dict of numpy.ndarray (T+1,)
        Norm of the gradient of the loss with respect to each state, slot by slot, over the rows that have that slot.
    gates : dict of GateFlow
        By gate.
    weights : dict of WeightFlow
        By parameter, in the names of the model's ``params``.
    jacobians : Jacobians or None
        None if they were not asked for, or the numbers are not finite.
    rate : float or None
        The factor by which ||dh[end]/d(all states)[t]|| changes from one step back to the next: the slope of a straight
        line through its logarithms (least squares).
    memory_length : float or None
        The number of steps back after which ||dh[end]/d(all states)[t]|| stays below 1/e; None if it does not within
        the T steps.  For a linear recurrence of radius r it is -1/ln(r), the time constant.  Tallec and Ollivier (2018)
        call 1/(1-f) the characteristic time of a forget gate f: the same for f near 1.
    verdict : str
        By ||dh[end]/d(all states)[0]||: ``"vanishing"`` below 0.1, ``"exploding"`` above 10, ``"steady"`` between; or
        ``"no gradient"``, ``"non-finite"``, and ``"cannot tell"`` without Jacobians.
    findings : tuple of str
        What the numbers say, one sentence each.
    """

    name: str
    cell: str
    steps: int
    batch: int
    units: int
    lengths: np.ndarray
    states: dict[str, np.ndarray]
    gates: dict[str, GateFlow]
    weights: dict[str, WeightFlow]
    jacobians: Jacobians | None
    rate: float | None
    memory_length: float | None
    verdict: str
    findings: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<DirectionFlow {self.name}: {self.cell}, {self.steps} steps, {self.verdict}>"

    def __str__(self) -> str:
        from engine.microscope.text import of_direction

        return "\n".join(of_direction(self))


@dataclass(frozen=True)
class Truncation:
    """The gradient of truncated BPTT beside the full one; every other number of the trace is of the truncated pass.

    Attributes
    ----------
    k1, k2 : int
        As for `engine.truncated_bptt`.
    captured : dict of float
        By parameter <g, dW> / <dW, dW> of the truncated gradient g: how much of the full gradient dW is left along its
        own direction.
    cosine : dict of float
        Cosine of the angle between the two.
    distance : dict of float
        ||g - dW|| / ||dW||: the bias of the truncated gradient, relative to the full one.
    """

    k1: int
    k2: int
    captured: dict[str, float]
    cosine: dict[str, float]
    distance: dict[str, float]


@dataclass(frozen=True, repr=False)
class Trace(Mapping[str, DirectionFlow]):
    """What `engine.trace` returns: a mapping from the names of layers and directions to what was measured there.

    Attributes
    ----------
    layers : dict of DirectionFlow
        By name; ``trace["l0"]`` is ``trace.layers["l0"]``.
    loss : float or None
        The value of the loss, where there is one.
    objective : str
        What the gradients are of, in words.
    truncation : Truncation or None
        The comparison with the full gradient, if `truncation` was given.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> rnn = engine.RNN(2, 3, backend="numpy:reference")
    >>> trace = engine.trace(rnn, np.ones((6, 1, 2), np.float32))
    >>> trace["l0"].states["h"].shape, round(float(trace["l0"].weights["weight_hh_l0"].share.sum()), 9)
    ((7,), 1.0)
    """

    layers: dict[str, DirectionFlow]
    loss: float | None
    objective: str
    truncation: Truncation | None = field(default=None)

    def __getitem__(self, name: str) -> DirectionFlow:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def verdict(self) -> str:
        """The verdicts of all layers and directions, most serious first, as ``"vanishing, steady"``."""
        found = {flow.verdict for flow in self.layers.values()}
        return ", ".join(verdict for verdict in VERDICTS if verdict in found)

    def __repr__(self) -> str:
        return f"<Trace of {', '.join(self.layers)}: {self.verdict}>"

    def __str__(self) -> str:
        from engine.microscope.text import table

        return table(self)

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data that ``json.dumps`` takes; numbers that are not finite are None."""
        found = {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {"verdict": self.verdict, **found}

    def plot(self, path: Any = None) -> Any:
        """Draw gradients, Jacobians, gates and shares over time; see `engine.microscope.picture.draw`.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write, its kind by its ending; None returns the figure alone.

        Returns
        -------
        matplotlib.figure.Figure
            A column of four panels for each layer and direction, up to four.
        """
        from engine.microscope.picture import draw

        return draw(self, path)


def plain(value: Any) -> Any:
    """Dicts, lists, texts, finite numbers and None: what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
