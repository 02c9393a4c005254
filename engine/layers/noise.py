"""The random masks of a recurrent layer: between layers, on the recurrent input and weights, and of zoneout.

Every mask is a function of (seed, layer path, purpose, call counter, time step, global row, unit), the same on every
backend (rule 14), so nothing about it has to be saved but the counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.backend import Backend
from engine.checks import describe, probability
from engine.errors import bad_input, bad_type
from engine.layers.walk import Direction
from kernels.cells import Cell, CellError
from kernels.options import with_recurrent_mask, with_zoneout

Array = Any  # of the layer's backend


class Rates(NamedTuple):
    """The probabilities with which units are dropped or keep their state: the options of a layer.

    Attributes
    ----------
    between : of dropping a unit between layers; whole_sequence : whether one mask serves all time steps.
    recurrent : of dropping a unit of h before the recurrent product; weights : an entry of the recurrent weights.
    zoneout : of keeping the old state, for each state that has zoneout.
    """

    between: float
    whole_sequence: bool
    recurrent: float
    weights: float
    zoneout: Mapping[str, float]


class Noise:
    """The masks of one pass.

    Parameters
    ----------
    backend, dtype : of the masks.
    rates : the probabilities.
    key : seed and path of the layer.
    call : the number of the pass; None if nothing is drawn.
    steps, rows : T, and the global numbers of the rows.
    """

    def __init__(
        self,
        backend: Backend,
        dtype: Any,
        rates: Rates,
        key: tuple[int, str],
        call: int | None,
        steps: int,
        rows: range,
    ) -> None:
        self.backend, self.dtype, self.rates, self.key, self.call = backend, dtype, rates, key, call
        self.steps, self.rows = steps, rows

    def _keep(self, purpose: str, p: float, steps: int, rows: range, units: int) -> Array:
        """Inverted-dropout mask (steps, rows, units)."""
        assert self.call is not None, "nothing is drawn in this pass"
        seed, path = self.key
        return self.backend.dropout_mask(seed, path, purpose, self.call, range(steps), rows, units, p, self.dtype)

    def between_layers(self, layer: int, units: int) -> Array:
        """Mask (T, B, units) on the input of a layer: never of the first; None if there is none."""
        p = self.rates.between
        if self.call is None or layer == 0 or p == 0.0:
            return None
        mask = self._keep(f"dropout:{layer}", p, 1 if self.rates.whole_sequence else self.steps, self.rows, units)
        return self.backend.xp.broadcast_to(mask, (self.steps, *mask.shape[1:]))

    def of_weights(self, direction: Direction, shape: tuple[int, int]) -> Array:
        """DropConnect mask of the recurrent weights, one a pass (Wan et al. 2013); None if there is none."""
        if self.call is None or self.rates.weights == 0.0:
            return None
        return self._keep(f"weights{direction.end}", self.rates.weights, 1, range(shape[0]), shape[1])[0]

    def factors(self, direction: Direction, cell: Cell, widths: Mapping[str, int]) -> dict[str, Array]:
        """The masks k_X that the cell asks for, each (T or 1, B or 1, units); `widths` has the units of each state."""
        found = {}
        for name in cell.given:
            if name == "k_h":  # one mask a sequence on h_prev (Gal and Ghahramani 2016)
                p = self.rates.recurrent
                found[name] = self._keep(f"recurrent{direction.end}", p, 1, self.rows, widths["h"])
            else:
                state = name.removeprefix("k_zone_")
                found[name] = self._of_zoneout(direction, state, widths[state])
        return found

    def _of_zoneout(self, direction: Direction, state: str, units: int) -> Array:
        """1 where a unit keeps the state before the step; its expectation p where nothing is drawn (rule 28)."""
        xp, p = self.backend.xp, self.rates.zoneout[state]
        if self.call is None:
            return xp.full((1, 1, units), p, dtype=self.dtype)
        drawn = self._keep(f"zoneout:{state}{direction.end}", p, self.steps, self.rows, units)
        return xp.where(drawn == 0, xp.ones_like(drawn), xp.zeros_like(drawn))


def zoneout_of(cell: Cell, given: Any) -> dict[str, float]:
    """Zoneout's probability for each state that has one, from a number or one for each state."""
    many = isinstance(given, Sequence) and not isinstance(given, str)
    values = list(given) if many else [given] * len(cell.states)
    if len(values) != len(cell.states):
        states = ", ".join(cell.states)
        raise bad_input("zoneout", f"a number, or one for each of the states {states}", describe(given))
    if not many and isinstance(given, bool):
        raise bad_type("zoneout", "a probability in 0..1", describe(given))
    checked = {state: probability("zoneout", value) for state, value in zip(cell.states, values, strict=True)}
    return {state: p for state, p in checked.items() if p > 0.0}


def noisy_cell(cell: Cell, zoneout: dict[str, float], masked: bool) -> Cell:
    """The cell with the phases that apply the masks."""
    try:
        cell = with_recurrent_mask(cell) if masked else cell
    except CellError:
        hint = f"no recurrent weights of the cell {cell.name} multiply h"
        raise bad_input("recurrent_dropout", "0 for this cell", "a probability above 0", hint) from None
    return with_zoneout(cell, tuple(zoneout)) if zoneout else cell
