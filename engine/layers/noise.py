"""The random masks of a recurrent layer: between layers, on the recurrent input and weights, and of zoneout.

Every mask is a function of (seed, layer path, purpose, call counter, time step, global row, unit), the same on every
backend (rule 14), so nothing about it has to be saved but the counter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.checks import describe, probability
from engine.errors import bad_input, bad_type
from engine.layers.timeline import Timeline
from engine.layers.walk import Direction
from kernels.cells import Cell, CellError
from kernels.options import with_recurrent_mask, with_zoneout

if TYPE_CHECKING:
    from engine.layers.recurrent_passes import RecurrentPasses

Array = Any  # of the layer's backend


class Noise:
    """The masks of one pass.

    Parameters
    ----------
    layer : whose pass it is, with the probabilities.
    call : the number of the pass; None if nothing is drawn.
    timeline : its steps and rows.
    """

    def __init__(self, layer: RecurrentPasses, call: int | None, timeline: Timeline) -> None:
        self.layer, self.call, self.steps = layer, call, slice(0, timeline.steps)
        self.rows = range(layer.row_offset, layer.row_offset + timeline.batch)

    def _keep(self, purpose: str, p: float, steps: slice | None, rows: range, units: int) -> Array:
        """Inverted-dropout mask (steps, rows, units); None for one mask for all steps, (1, rows, units)."""
        assert self.call is not None, "nothing is drawn in this pass"
        one, first = self.layer, self.layer.step_offset
        drawn = range(1) if steps is None else range(first + steps.start, first + steps.stop)
        return one.backend.dropout_mask(one.seed, one.path, purpose, self.call, drawn, rows, units, p, one.dtype)

    def between_layers(self, layer: int, units: int, steps: slice | None = None) -> Array:
        """Mask (T, B, units) on the input of a layer: never of the first; None if there is none.  T may be a part."""
        p, steps = self.layer.dropout, steps or self.steps
        if self.call is None or layer == 0 or p == 0.0:
            return None
        mask = self._keep(f"dropout:{layer}", p, None if self.layer.variational else steps, self.rows, units)
        return self.layer.backend.xp.broadcast_to(mask, (steps.stop - steps.start, *mask.shape[1:]))

    def of_weights(self, direction: Direction, shape: tuple[int, int]) -> Array:
        """DropConnect mask of the recurrent weights, one a pass (Wan et al. 2013); None if there is none."""
        if self.call is None or self.layer.weight_dropout == 0.0:
            return None
        return self._keep(f"weights{direction.end}", self.layer.weight_dropout, None, range(shape[0]), shape[1])[0]

    def factors(self, direction: Direction, cell: Cell, steps: slice | None = None) -> dict[str, Array]:
        """The masks k_X that the cell asks for, each (T or 1, B or 1, units).  T may be a part."""
        found, widths = {}, dict(zip(cell.states, self.layer.widths, strict=True))
        for name in cell.given:
            if name == "k_h":  # one mask a sequence on h_prev (Gal and Ghahramani 2016)
                p = self.layer.recurrent_dropout
                found[name] = self._keep(f"recurrent{direction.end}", p, None, self.rows, widths["h"])
            else:
                state = name.removeprefix("k_zone_")
                found[name] = self._of_zoneout(direction, state, widths[state], steps or self.steps)
        return found

    def _of_zoneout(self, direction: Direction, state: str, units: int, steps: slice) -> Array:
        """1 where a unit keeps the state before the step; its expectation p where nothing is drawn (rule 28)."""
        xp, p = self.layer.backend.xp, self.layer.zoned[state]
        if self.call is None:
            return xp.full((1, 1, units), p, dtype=self.layer.dtype)
        drawn = self._keep(f"zoneout:{state}{direction.end}", p, steps, self.rows, units)
        return xp.where(drawn == 0, xp.ones_like(drawn), xp.zeros_like(drawn))


def factors_in(noise: Noise | None, direction: Direction, cell: Cell) -> Callable[[slice], dict[str, Array]]:
    """A function that draws the factors of some steps of a pass."""
    return lambda steps: {} if noise is None else noise.factors(direction, cell, steps)


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
