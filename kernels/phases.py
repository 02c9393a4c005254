"""The phases of a step, and where each name of their gate functions lies.

`kernels.names` follows the names through the phases of a cell, once, when it is declared: what an argument refers to,
what takes a result, what has to stay on the tape because backward asks for it.  `kernels.steps`, `kernels.cpu.rows` and
`kernels.cuda.elements` are written from its answer, the `Layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from kernels.equations import Equation

Array = Any  # of any array library


class Between(NamedTuple):
    """A row function between a product and its gate functions, with its reverse.

    Attributes
    ----------
    forward : (R, G*H) -> (R, G*H), on all rows of a step that are not past their end.
    backward : (dout, rows, out) -> drows, each (R, G*H).
    scaled : whether what they make of the input part and of the hidden part is scaled by weights of a unit:
        ``x_X = p_xgain_X * ... + p_bias_X``, and ``h_X = p_hgain_X * ...``, ``+ p_hbias_X`` if the gate functions ask
        for the two parts.  The gains start at 1, the biases at 0.
    """

    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]
    scaled: bool = False

    def mixes_rows(self, gates: int) -> bool:
        """Whether the forward function makes a row out of other rows too, as batch normalisation does."""
        rows = np.cos(np.arange(12.0 * max(1, gates))).reshape(3, -1)
        return not is_ours(self.forward) and not np.allclose(self.forward(rows)[:1], self.forward(rows[:1]))


def is_ours(function: Callable[..., Any]) -> bool:
    """Whether a row function is one of this package: those take each row alone, any axes in front, and dual numbers."""
    return function.__module__.startswith("kernels.")


def scale_of(gate: str, part: str) -> tuple[str, str]:
    """The names of the gain and the bias of a part, ``"x"`` or ``"h"``, of a gate (`Between.scaled`)."""
    return f"p_{part}gain_{gate}", f"p_bias_{gate}" if part == "x" else f"p_hbias_{gate}"


class Phase:
    """A product with recurrent weights, and the gate functions after it.

    Parameters
    ----------
    gates : str or iterable of str
        The names of its gates, as one string of letters or as a sequence of names; the order of their blocks in the
        weights.  Empty for a phase that only uses values of other phases.
    forward : callable
        The gate function of the forward pass.
    backward : callable
        The gate function of the backward pass.
    source : str or None
        What the recurrent weights multiply: ``"h_prev"`` or a value that a phase before returned.  None for a phase
        without a recurrent product.
    between : tuple of callable, or None
        Row functions (forward, backward) on all rows of a step, between the product and the gate functions: for
        normalisation.  They get the input part and the hidden part one by one if they are scaled (`Between`) or the
        gate functions ask for ``x_X`` and ``h_X``, the sum of the two if these ask for ``a_X``.  In a phase without
        gates they get its `source`, and its gate functions ask for ``between_SOURCE``.  There are no biases:
        normalisation would remove them.
    names : mapping of str to str
        Words of the names of the two functions that stand for others: with ``{"S": "c"}``, ``dS_prev`` is ``dc_prev``.
        So one pair of functions serves several cells.
    """

    def __init__(
        self,
        gates: str | Iterable[str],
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        source: str | None = "h_prev",
        between: tuple[Any, ...] | None = None,
        *,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.gates = tuple(gates)
        self.forward, self.backward = forward, backward
        self.source, self.names = source, names
        self.between = None if between is None else Between(*between)

    def multiplying(self, source: str) -> Phase:
        """The same phase, whose recurrent weights multiply `source`."""
        return Phase(self.gates, self.forward, self.backward, source, self.between, names=self.names)


class Projection(NamedTuple):
    """A product that makes the hidden state of a cell: h = W_hr source (Sak et al. 2014).

    It stands after the phases that work on H units.  The product goes into the slot of h; one phase may follow, which
    works on the P units of h and gives it a new value (zoneout).

    Parameters
    ----------
    source : str
        The name of the value that is multiplied.

    Examples
    --------
    >>> import engine
    >>> engine.cells()["projected_lstm"].phases[-1]
    Projection(source='m')
    """

    source: str


class Place(NamedTuple):
    """Where a value lies.

    Attributes
    ----------
    kind : ``a x h`` a gate's pre-activation and its parts, ``prev`` and ``new`` a state in its slots, ``gate`` the
        gate block on the tape, ``kept`` another array on the tape, ``local`` a value of this stage that nobody keeps,
        ``own`` a weight of a unit, ``given`` a factor from the layer, ``between`` a normalised source, ``library``;
        in backward also ``grad``, the gradient of a value.
    name : which one.
    """

    kind: Literal["a", "x", "h", "prev", "new", "gate", "kept", "local", "own", "given", "between", "library", "grad"]
    name: str


class Work(NamedTuple):
    """A phase as it was read.

    Attributes
    ----------
    gates : its gates; source : what its weights multiply, None without a product; between : its row functions.
    forward, backward : the two equations.
    inputs : where each argument of forward lies.
    labels : a name for each result of forward that no other value of the cell has: ``local`` places refer to it.
    outputs : for each result of forward, the places on the tape that take it.
    reads : where each argument of backward lies.
    replaces : names V whose gradient is replaced by the dV that backward returns, because backward has asked for the
        dV known so far, or because forward gave V a new value.  Any other result is added.
    narrow : whether it works on the P units of the hidden state of a cell with a projection, not on the H others.
    """

    gates: tuple[str, ...]
    source: Place | None
    between: Between | None
    forward: Equation
    backward: Equation
    inputs: tuple[Place, ...]
    labels: tuple[str, ...]
    outputs: tuple[tuple[Place, ...], ...]
    reads: tuple[Place, ...]
    replaces: tuple[str, ...]
    narrow: bool


class Stage(NamedTuple):
    """A recurrent product and all phases up to the next product: one pass over the units.

    Attributes
    ----------
    source : what is multiplied, or None.
    first, last : its gates are ``cell.gates[first:last]``.
    works : its phases.
    narrow : whether its units are the P of the hidden state (`Work.narrow`).
    """

    source: Place | None
    first: int
    last: int
    works: tuple[Work, ...]
    narrow: bool


class Layout(NamedTuple):
    """What the names of a cell's gate functions say; `kernels.cells.Cell` explains the fields."""

    gates: tuple[str, ...]
    recurrent: tuple[str, ...]
    states: tuple[str, ...]
    own: tuple[str, ...]
    initial: dict[str, float]
    given: tuple[str, ...]
    kept: tuple[str, ...]
    separate: tuple[str, ...]
    splits: tuple[str, ...]
    biased: bool
    projected: Place | None
    projected_at: int
    works: tuple[Work, ...]
    stages: tuple[Stage, ...]
